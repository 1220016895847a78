/* SPDX-License-Identifier: MIT */
/* The same file as C++: the macros have another form there. */
#include "macros.c"
