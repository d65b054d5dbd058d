"""What every part asks of the machine: cores, memory, files written whole, compiled code that is kept."""
