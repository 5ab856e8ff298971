--- The version of Orrery, in a file of its own for modules below `orrery`.
return "0.1.0"
