/* SPDX-License-Identifier: MIT */
/* Waiting without the GIL, on a futex word, so that a signal can interrupt it. */
#include "binding.h"

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_NS_MAX = 50000, /* about what it costs to be woken on another core */
    LOOK_TURNS = 16,
    /* A signal that comes between the last look for signals and the sleep interrupts nothing. */
    SLEEP_NS_MAX = 1000000000
};

static _Thread_local int64_t patience_ns = LOOK_NS_MAX;

bool py_deadline(PyObject *timeout, int64_t *ret_deadline_ns)
{
    *ret_deadline_ns = PY_FOREVER;
    if (!timeout || timeout == Py_None)
        return true;
    double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return false;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout is not a number");
        return false;
    }
    if (seconds <= 0)
        *ret_deadline_ns = 0;
    else if (seconds < 1e9)
        *ret_deadline_ns = py_now_ns() + (int64_t)(seconds * 1e9);
    return true;
}

void py_wake_all(py_word *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static void word_sleep(py_word *word, unsigned expected, int64_t deadline_ns)
{
    int64_t ns = deadline_ns == PY_FOREVER ? SLEEP_NS_MAX : deadline_ns - py_now_ns();
    if (ns <= 0)
        return;
    if (ns > SLEEP_NS_MAX)
        ns = SLEEP_NS_MAX;
    struct timespec span = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &span, NULL, 0);
}

/* ---- looking around before sleeping ---- */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool have_two_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
}

static bool look(const py_word *word, unsigned mask, unsigned until, const atomic_int *attached)
{
    int64_t until_ns = py_now_ns() + patience_ns;
    while (py_now_ns() < until_ns)
        for (unsigned turn = 0; turn < LOOK_TURNS; turn++) { /* acquire: pairs with result_publish and py_release */
            if ((atomic_load_explicit(word, memory_order_acquire) & mask) >= until &&
                atomic_load_explicit(attached, memory_order_acquire) == 0)
                return true;
            relax();
        }
    return false;
}

/* A wait that was as short as a wake shows that looking around pays, a longer one that it does less. */
static void look_learn(int64_t begin_ns)
{
    if (py_now_ns() - begin_ns >= LOOK_NS_MAX)
        patience_ns /= 2;
    else if (patience_ns < LOOK_NS_MAX && have_two_cpus())
        patience_ns = LOOK_NS_MAX;
}

void py_look(const py_word *word, unsigned mask, unsigned until, const atomic_int *attached)
{
    int64_t begin_ns = py_now_ns();
    (void)look(word, mask, until, attached);
    look_learn(begin_ns);
}

/* ---- waiting ---- */

bool py_wait_state(py_word *word, unsigned mask, unsigned until, unsigned waiters, int64_t deadline_ns,
                   const atomic_int *attached)
{
    int64_t begin_ns = py_now_ns();
    py_release();
    if (!look(word, mask, until, attached)) {
        unsigned seen = atomic_fetch_or(word, waiters) | waiters;
        if ((seen & mask) < until)
            word_sleep(word, seen, deadline_ns);
    }
    look_learn(begin_ns);
    py_take();
    return PyErr_CheckSignals() == 0;
}

struct change {
    py_word *word;
    unsigned expected;
    int64_t deadline_ns;
};

static int change_sleep(void *opaque)
{
    const struct change *change = opaque;
    word_sleep(change->word, change->expected, change->deadline_ns);
    return 0;
}

/* A task that waits so may wait for others: the core has a thread stand in for its own. */
bool py_wait_change(py_word *word, unsigned expected, int64_t deadline_ns)
{
    struct change change = {word, expected, deadline_ns};
    py_release();
    (void)crew_block(change_sleep, &change);
    py_retake();
    return PyErr_CheckSignals() == 0;
}
