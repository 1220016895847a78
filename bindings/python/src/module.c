/* SPDX-License-Identifier: MIT */
/* The extension module crewpool._core: its types, and what it keeps for each interpreter. */
#include "binding.h"

static const char *const helper_names[PY_HELPERS] = {
    [PY_ASYNC_RESULT] = "AsyncResult",
    [PY_MAP_RESULT] = "MapResult",
    [PY_FUTURE] = "Future",
    [PY_ORDERED] = "IMapIterator",
    [PY_UNORDERED] = "IMapUnorderedIterator",
    [PY_NEW_CONDITION] = "new_condition",
    [PY_NOTIFY] = "notify",
    [PY_LOG_CALLBACK] = "log_callback",
    [PY_THREAD_BEGIN] = "thread_begin",
    [PY_THREAD_END] = "thread_end",
    [PY_INITIALIZER_FAILED] = "initializer_failed",
    [PY_START_THREAD] = "start_thread",
    [PY_POOL_TIMEOUT] = "PoolTimeoutError",
    [PY_FUTURE_TIMEOUT] = "FutureTimeoutError",
    [PY_CANCELLED_ERROR] = "CancelledError",
    [PY_TERMINATED_ERROR] = "TerminatedError",
    [PY_BROKEN_ERROR] = "BrokenThreadPool",
    [PY_DEADLOCK_ERROR] = "DeadlockError",
    [PY_INVALID_STATE_ERROR] = "InvalidStateError",
    [PY_FORKED_ERROR] = "ForkedError",
    [PY_FULL_ERROR] = "FullError",
};

static const char *const phase_names[PY_STATE_NAMES] = {
    [PY_PENDING] = "PENDING",
    [PY_RUNNING] = "RUNNING",
    [PY_STORED] = "RUNNING",
    [PY_FINISHED] = "FINISHED",
    [PY_CANCELLED] = "CANCELLED_AND_NOTIFIED",
};

/* ---- functions of the module ---- */

/* configure(**helpers): what the Python layer provides. */
static PyObject *module_configure(PyObject *module, PyObject *args, PyObject *helpers)
{
    (void)args;
    py_state *state = PyModule_GetState(module);
    for (int i = 0; i < PY_HELPERS; i++) {
        PyObject *helper = helpers ? PyDict_GetItemString(helpers, helper_names[i]) : NULL;
        if (!helper)
            return PyErr_Format(PyExc_TypeError, "configure() needs %s", helper_names[i]);
        Py_XSETREF(state->helpers[i], Py_NewRef(helper));
    }
    Py_RETURN_NONE;
}

/* at_exit(waited_for): ends all crews whose work is waited for, or the others. */
static PyObject *module_at_exit(PyObject *module, PyObject *waited_for)
{
    py_state *state = PyModule_GetState(module);
    bool wanted = waited_for == Py_True;
    if (wanted)
        state->is_shutting_down = true;
    if (py_crews_end(state, wanted) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* is_main_interpreter() */
static PyObject *module_is_main_interpreter(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(py_is_main_interpreter());
}

/* cpu_count(): what affinity and the control group's quota leave. */
static PyObject *module_cpu_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    unsigned count;
    crew_error error;
    if (crew_cpu_count(&count, &error) != CREW_OK)
        return PyErr_Format(PyExc_ValueError, "%s", error.message);
    return PyLong_FromUnsignedLong(count);
}

static PyMethodDef module_functions[] = {
    {"configure", (PyCFunction)(void (*)(void))module_configure, METH_VARARGS | METH_KEYWORDS, NULL},
    {"at_exit", module_at_exit, METH_O, NULL},
    {"is_main_interpreter", module_is_main_interpreter, METH_NOARGS, NULL},
    {"cpu_count", module_cpu_count, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- the module ---- */

static bool type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **ret_type)
{
    *ret_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *ret_type && PyModule_AddType(module, *ret_type) == 0;
}

static int module_exec(PyObject *module)
{
    py_state *state = PyModule_GetState(module);
    state->empty_tuple = PyTuple_New(0);
    for (int i = 0; i < PY_STATE_NAMES; i++) {
        state->state_names[i] = PyUnicode_InternFromString(phase_names[i]);
        if (!state->state_names[i])
            return -1;
    }
    bool is_made = state->empty_tuple && type_add(module, &py_pool_spec, &state->pool_type) &&
                   type_add(module, &py_executor_spec, &state->executor_type) &&
                   type_add(module, &py_result_spec, &state->result_type) &&
                   type_add(module, &py_stream_spec, &state->stream_type) &&
                   type_add(module, &py_stream_handle_spec, &state->stream_handle_type);
    return is_made ? 0 : -1;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    py_state *state = PyModule_GetState(module);
    Py_VISIT(state->pool_type);
    Py_VISIT(state->executor_type);
    Py_VISIT(state->result_type);
    Py_VISIT(state->stream_type);
    Py_VISIT(state->stream_handle_type);
    for (int i = 0; i < PY_HELPERS; i++)
        Py_VISIT(state->helpers[i]);
    return 0;
}

static int module_clear(PyObject *module)
{
    py_state *state = PyModule_GetState(module);
    Py_CLEAR(state->pool_type);
    Py_CLEAR(state->executor_type);
    Py_CLEAR(state->result_type);
    Py_CLEAR(state->stream_type);
    Py_CLEAR(state->stream_handle_type);
    Py_CLEAR(state->empty_tuple);
    for (int i = 0; i < PY_STATE_NAMES; i++)
        Py_CLEAR(state->state_names[i]);
    for (int i = 0; i < PY_HELPERS; i++)
        Py_CLEAR(state->helpers[i]);
    return 0;
}

static void module_free(void *module)
{
    py_crews_forget(PyModule_GetState(module));
    (void)module_clear(module);
}

PyObject *py_refuse_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args;
    (void)keywords;
    return PyErr_Format(PyExc_TypeError, "cannot create '%s' instances: a pool makes them", type->tp_name);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, PY_SLOT(module_exec)},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "crewpool._core",
    .m_doc = "What crewpool's classes are made of: pools, results and streams on the C library.",
    .m_size = sizeof(py_state),
    .m_methods = module_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

#if PY_VERSION_HEX >= 0x030B0000
py_state *py_state_of(PyObject *object)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(object), &module_definition);
    return module ? PyModule_GetState(module) : NULL;
}
#else
py_state *py_state_of(PyObject *object)
{
    PyObject *mro = Py_TYPE(object)->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *type = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *module = type->tp_flags & Py_TPFLAGS_HEAPTYPE ? ((PyHeapTypeObject *)type)->ht_module : NULL;
        if (module && PyModule_GetDef(module) == &module_definition)
            return PyModule_GetState(module);
    }
    PyErr_SetString(PyExc_TypeError, "not an object of crewpool's");
    return NULL;
}
#endif

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_definition);
}
