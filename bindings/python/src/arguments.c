/* SPDX-License-Identifier: MIT */
/* Reading the arguments of a call, positional or by name. */
#include "binding.h"

static int name_find(const py_signature *signature, PyObject *name)
{
    for (int i = 0; signature->names[i]; i++)
        if (PyUnicode_CompareWithASCIIString(name, signature->names[i]) == 0)
            return i;
    return -1;
}

static bool keyword_take(const py_signature *signature, PyObject *name, PyObject *value, PyObject **found)
{
    int at = name_find(signature, name);
    if (at < 0)
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function, name);
    else if (found[at])
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature->function, name);
    if (at < 0 || found[at])
        return false;
    found[at] = value;
    return true;
}

bool py_arguments(const py_signature *signature, PyObject *const *given, Py_ssize_t count, PyObject *keywords,
                  PyObject **found)
{
    if (count > signature->positional_max) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments but %zd were given",
                     signature->function, signature->positional_max, count);
        return false;
    }
    for (int i = 0; signature->names[i]; i++)
        found[i] = i < count ? given[i] : NULL;
    Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < named; i++)
        if (!keyword_take(signature, PyTuple_GET_ITEM(keywords, i), given[count + i], found))
            return false;
    for (int i = 0; i < signature->required; i++)
        if (!found[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", signature->function,
                         signature->names[i]);
            return false;
        }
    return true;
}
