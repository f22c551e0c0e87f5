"""What kernels compute in closed form, found another way: by a simulation, an enumeration or an exact sum.

Nothing here knows a kernel's formula; `plain` alone calls the kernels, on a machine of round numbers.
"""
