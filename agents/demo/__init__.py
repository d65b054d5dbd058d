"""The ten-minute demonstration: a policy that ships with the package learns a changed LIBERO task."""
