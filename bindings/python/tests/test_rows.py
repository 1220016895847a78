# SPDX-License-Identifier: MIT
"""Where the originals hang, lose results or lie: the rows of docs/from-python.md, by the issue numbers of CPython."""

import concurrent.futures
import contextvars
import ctypes
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import unittest

import crewpool
from support import Case, Gate, Ordered, let_go

CancelledError = concurrent.futures.CancelledError


def stack_of_this_thread():
    libc = ctypes.CDLL(None)
    libc.pthread_self.restype = ctypes.c_void_p
    attributes = ctypes.create_string_buffer(256)
    base, size = ctypes.c_void_p(), ctypes.c_size_t()
    libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes)
    libc.pthread_attr_getstack(attributes, ctypes.byref(base), ctypes.byref(size))
    libc.pthread_attr_destroy(attributes)
    return size.value


def raiser(error):
    def body(*_):
        raise error

    return body


class ThreadPoolRows(Case):
    def pool(self, *arguments, **keywords):
        pool = crewpool.ThreadPool(*arguments, **keywords)
        self.addCleanup(pool.join)
        self.addCleanup(pool.terminate)
        return pool

    def in_a_moment(self, function, *args):
        """A thread that is there already calls it, a moment after what is returned has been called."""
        begins = threading.Event()

        def wait_and_call():
            begins.wait()
            threading.Event().wait(0.05)
            function(*args)

        thread = threading.Thread(target=wait_and_call)
        thread.start()
        self.addCleanup(thread.join)
        return begins.set

    def test_126743_results_end_when_the_pool_is_terminated(self):
        gate = Gate()
        pool = self.pool(1)
        running = pool.apply_async(gate, (5,))
        gate.arrived()
        queued = [
            pool.apply_async(abs, (-1,)),
            pool.apply_async(abs, (-1,), callback=self.fail),
            pool.map_async(abs, [1, 2], callback=self.fail),
        ]
        stream = pool.imap(abs, iter([1, 2]))
        endless = pool.imap_unordered(abs, itertools.count())
        waiter = threading.Thread(target=queued[0].wait)
        waiter.start()
        pool.terminate()
        waiter.join()
        for result in queued:
            self.assertRaises(crewpool.TerminatedError, result.get)
            self.assertRaises(CancelledError, result.result)
            self.assertTrue(result.cancelled())
        self.assertRaises(crewpool.TerminatedError, lambda: list(stream))
        self.assertRaises(crewpool.TerminatedError, lambda: list(endless))
        self.assertEqual((list(stream), list(endless)), ([], []))
        gate.open()
        self.assertEqual(running.get(), 5)
        self.assertTrue(running.successful())

    def test_126743_a_map_that_has_begun_ends_when_the_pool_is_terminated(self):
        gate = Gate()
        pool = self.pool(1)
        result = pool.map_async(gate, range(50), 1)
        gate.arrived()
        pool.terminate()
        gate.open()
        self.assertRaises(crewpool.TerminatedError, result.get)

    def test_83371_a_raising_callback_becomes_the_result_and_the_pool_lives(self):
        pool = self.pool(1)
        error = ValueError("callback")
        result = pool.apply_async(abs, (-1,), callback=raiser(error))
        with self.assertRaises(ValueError) as caught:
            result.get()
        self.assertIs(caught.exception, error)
        first, second = KeyError("task"), SystemExit("error callback")
        result = pool.apply_async(raiser(first), error_callback=raiser(second))
        with self.assertRaises(SystemExit) as caught:
            result.get()
        self.assertIs(caught.exception.__context__, first)
        self.assertRaises(TypeError, pool.apply_async(abs, (1,), callback=5).get)
        self.assertEqual(pool.apply(abs, (-4,)), 4)

    def test_87129_a_callback_may_terminate_close_submit_and_wait(self):
        pool = self.pool(2)
        inside = []
        pool.apply_async(abs, (-1,), callback=lambda _: inside.append(pool.apply(abs, (-2,)))).get()
        pool.apply_async(abs, (-1,), callback=lambda _: inside.append(pool.map(abs, [-3]))).get()
        self.assertEqual(inside, [2, [3]])
        self.assertRaises(KeyError, pool.apply_async(raiser(KeyError()), error_callback=lambda _: pool.terminate()).get)
        self.assertTrue(pool.join())

    def test_101081_whatever_a_task_raises_is_its_result_and_costs_no_worker(self):
        pool = self.pool(1)
        for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
            result = pool.apply_async(raiser(error))
            self.assertRaises(type(error), result.get)
            self.assertRaises(type(error), pool.map, raiser(error), [1])
            self.assertRaises(type(error), next, pool.imap(raiser(error), [1]))
        self.assertEqual(pool.apply(abs, (-1,)), 1)

    def test_87472_an_initializer_that_raises_breaks_the_pool_with_its_reason(self):
        reason = OSError("no licence")
        calls = []

        def initialise():
            calls.append(1)
            raise reason

        for submit in ("apply_async", "map_async", "imap"):
            pool = self.pool(2, initialise)
            arguments = (abs, (1,)) if submit == "apply_async" else (abs, [1])
            pending = getattr(pool, submit)(*arguments)
            with self.assertRaises(concurrent.futures.BrokenExecutor) as caught:
                pending.get() if submit != "imap" else next(pending)
            self.assertIs(caught.exception.__cause__, reason)
            self.assertRaises(concurrent.futures.BrokenExecutor, pool.apply, abs, (1,))
            pool.close()
            self.assertTrue(pool.join())
        self.assertLessEqual(len(calls), 6)

    def test_64192_a_buffersize_bounds_what_is_pulled_from_endless_input(self):
        for name, chunk in itertools.product(("imap", "imap_unordered"), (1, 3)):
            pulled = []
            pool = self.pool(2)
            source = (pulled.append(n) or n for n in itertools.count())
            stream = getattr(pool, name)(abs, source, chunk, buffersize=4)
            for taken in range(1, 30):
                next(stream)
                self.assertLessEqual(len(pulled), taken + 4 * chunk)
            limited = getattr(pool, name)(abs, range(1000), chunk, buffersize=1)
            self.assertEqual(sorted(limited), list(range(1000)))

    def test_155477_closing_with_a_full_buffer_lets_join_return(self):
        for source in (itertools.count(), range(10**9)):
            pool = self.pool(2)
            stream = pool.imap(abs, source, buffersize=4)
            self.assertEqual(next(stream), 0)
            pool.close()
            self.assertTrue(pool.join())
            rest = list(stream)
            self.assertEqual(rest, list(range(1, 1 + len(rest))))
            self.assertLessEqual(len(rest), 4)

    def test_72165_join_takes_a_timeout_and_may_be_called_again(self):
        gate = Gate()
        pool = self.pool(1)
        pool.apply_async(gate)
        gate.arrived()
        pool.close()
        self.assertIs(pool.join(0.01), False)
        self.assertIs(pool.join(timeout=0), False)
        gate.open()
        self.assertIs(pool.join(), True)

    def test_bpo_8296_and_125886_an_interrupt_gets_the_main_thread_out_of_every_wait(self):
        gate = Gate()
        pool = self.pool(1)
        result = pool.apply_async(gate)
        gate.arrived()
        stream = pool.imap(abs, [1])
        closed = self.pool(1)
        closed.apply_async(gate)
        gate.arrived()
        closed.close()
        waits = [
            result.get, result.wait, result.result, lambda: result.get(50), lambda: pool.map(abs, [1]),
            lambda: pool.apply(abs, (1,)), lambda: next(stream), lambda: stream.next(50), closed.join,
        ]  # fmt: skip
        for wait in waits:
            self.in_a_moment(os.kill, os.getpid(), signal.SIGINT)()
            self.assertRaises(KeyboardInterrupt, wait)
        gate.open()
        self.assertIsNone(result.get())

    def test_79559_results_and_streams_outlive_a_pool_that_nobody_keeps(self):
        gate = Gate()
        with self.assertWarns(ResourceWarning):
            result = crewpool.ThreadPool(1).apply_async(gate, (3,))
            gate.open()
            self.assertEqual(result.get(), 3)
            self.assertEqual(list(crewpool.ThreadPool(1).imap(abs, iter(range(100)))), list(range(100)))
            while result._pool:  # which the worker lets go of last
                pass

    def test_149452_the_default_size_follows_the_affinity(self):
        whole = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(whole)})
        try:
            self.assertEqual(self.pool()._processes, 1)
        finally:
            os.sched_setaffinity(0, whole)

    def test_73781_a_queue_with_a_limit_makes_outsiders_wait_for_room(self):
        gate = Gate()
        pool = self.pool(1, queue_max=2)
        first = pool.apply_async(gate)
        gate.arrived()
        queued = [pool.apply_async(abs, (-1,)), pool.map_async(abs, [-2])]
        submitted = []

        def submit():
            for call in (pool.apply_async, pool.map_async):
                submitted.append(call(abs, [-3] if call == pool.apply_async else [-4]))

        waiter = threading.Thread(target=submit)
        waiter.start()
        waiter.join(0.05)
        self.assertTrue(waiter.is_alive() and not submitted)
        self.assertTrue(queued[0].cancel())  # which makes room for one
        while not submitted:
            pass
        waiter.join(0.05)
        self.assertEqual((waiter.is_alive(), len(submitted)), (True, 1))
        gate.open()
        waiter.join()
        self.assertEqual([result.get() for result in [first, queued[1], *submitted]], [None, [2], 3, [4]])
        self.assertEqual(pool.apply(lambda: [pool.apply_async(abs, (n,)) for n in range(9)])[8].get(), 8)
        self.assertEqual(list(pool.imap(abs, range(9))), list(range(9)))

    def test_73781_who_waits_for_room_is_told_when_the_pool_ends_or_is_interrupted(self):
        for end in ("close", "terminate"):
            gate = Gate()
            pool = self.pool(1, queue_max=1)
            pool.apply_async(gate)
            gate.arrived()
            pool.apply_async(abs, (1,))
            self.addCleanup(gate.open)
            self.in_a_moment(os.kill, os.getpid(), signal.SIGINT)()
            self.assertRaises(KeyboardInterrupt, pool.apply_async, abs, (1,))
            self.in_a_moment(getattr(pool, end))()
            self.assertRaisesRegex(ValueError, "^Pool not running$", pool.apply, abs, (1,))
            gate.open()

    def test_73781_a_full_queue_refuses_where_that_is_asked_for(self):
        gate = Gate()
        with crewpool.ThreadPoolExecutor(1, queue_max=1, full_fails=True) as executor:
            running = executor.submit(gate)
            gate.arrived()
            queued = executor.submit(abs, -1)
            self.assertRaises(crewpool.FullError, executor.submit, abs, -1)
            self.assertRaises(queue.Full, executor.submit, abs, -1)
            gate.open()
            self.assertEqual((running.result(), queued.result()), (None, 1))
            self.assertEqual(executor.submit(abs, -2).result(), 2)
        for bad in (-1, 1.5):
            self.assertRaises((ValueError, TypeError), crewpool.ThreadPool, 1, queue_max=bad)

    def test_120508_errors_that_nobody_asks_for_are_told_where_that_is_wanted(self):
        told = []
        error = KeyError("lost")
        pool = self.pool(1, on_unhandled=told.append)

        def let_go(result, *looks):
            result.wait()
            for look in looks:
                self.outcome(look, result)
            while result._pool:  # which the worker lets go of before the result itself
                pass
            del result
            pool.apply(abs, (1,))

        let_go(pool.apply_async(raiser(error)))
        let_go(pool.map_async(raiser(error), [1]))
        let_go(pool.apply_async(abs, (1,), callback=raiser(error), error_callback=abs))
        self.assertEqual(told, [error] * 3)
        looks = ["get", "result", "exception", "successful"]
        for look in looks:
            let_go(pool.apply_async(raiser(error)), getattr(crewpool.AsyncResult, look))
        let_go(pool.apply_async(raiser(error), error_callback=lambda _: None))
        let_go(pool.apply_async(abs, (1,)))
        self.assertRaises(KeyError, pool.map, raiser(error), [1])
        self.assertEqual(told, [error] * 3)
        with crewpool.ThreadPoolExecutor(1, on_unhandled=told.append) as executor:
            executor.submit(raiser(error))
            cancelled = executor.submit(raiser(error))
            cancelled.cancel()
        del cancelled
        self.assertLessEqual(4, len(told))
        self.assertRaises(TypeError, crewpool.ThreadPool, 1, on_unhandled=5)

    @staticmethod
    def outcome(look, result):
        try:
            return look(result)
        except Exception as error:
            return error

    def test_83543_without_a_chunk_size_a_slow_item_holds_up_only_the_few_of_its_own_chunk(self):
        for count, most in ((100, 1), (100_000, 32)):
            pool = self.pool(2)
            gate = Gate()
            ran = []

            def body(number, count=count, gate=gate, ran=ran):
                if number == count // 3:
                    gate()
                ran.append(number)

            result = pool.map_async(body, range(count))
            gate.arrived()
            while len(ran) < count - most:
                pass
            gate.open()
            result.get()
            self.assertEqual(sorted(ran), list(range(count)))

    def test_89502_threads_have_the_name_and_the_stack_that_are_asked_for(self):
        def look():
            with open(f"/proc/self/task/{threading.get_native_id()}/comm", encoding="ascii") as comm:
                return threading.current_thread().name, comm.read().strip()

        pool = self.pool(1, thread_name_prefix="mine")
        self.assertEqual(pool.apply(look)[0], "mine_0")
        self.assertRegex(pool.apply(look)[1], "^mine-[0-9]$")
        for size, threading_size in ((1 << 20, 0), (0, 1 << 20)):
            before = threading.stack_size(threading_size)
            self.addCleanup(threading.stack_size, before)
            self.assertEqual(self.pool(1, stack_size=size).apply(stack_of_this_thread), 1 << 20)
        self.assertRaises(ValueError, crewpool.ThreadPool, 1, stack_size=100)

    def test_78195_contextvars_come_along_where_that_is_asked_for(self):
        variable = contextvars.ContextVar("variable", default="none")
        plain, pool = self.pool(2), self.pool(2, inherit_context=True)
        variable.set("mine")
        get = lambda *_: variable.get()  # noqa: E731
        self.assertEqual(plain.apply(get), "none")
        self.assertEqual(pool.apply(get), "mine")
        self.assertEqual(pool.apply_async(get).get(), "mine")
        self.assertEqual(set(pool.map(get, range(20), 1)), {"mine"})
        self.assertEqual(set(pool.imap(get, range(20))), {"mine"})
        pool.apply(variable.set, ("theirs",))
        self.assertEqual(pool.apply(get), "mine")
        with crewpool.ThreadPoolExecutor(1, inherit_context=True) as executor:
            self.assertEqual(executor.submit(get).result(), "mine")

    def test_141617_tasks_that_wait_for_tasks_of_a_full_pool_do_not_deadlock(self):
        for workers in (1, 2):
            pool = self.pool(workers)

            def tree(depth):
                if depth == 0:
                    return 1
                results = [pool.apply_async(tree, (depth - 1,)) for _ in range(2)]
                return sum(result.get() for result in results)

            def maps(depth):
                return sum(pool.map(maps, [depth - 1] * 2, 1)) if depth else 1

            def streams(depth):
                return sum(pool.imap(streams, [depth - 1] * 2)) if depth else 1

            for body in (tree, maps, streams):
                self.assertEqual(pool.apply_async(body, (6,)).get(), 64)
            self.assertEqual(pool.apply(lambda: list(pool.imap(abs, iter(range(9))))), list(range(9)))

    def test_141617_a_task_that_waits_for_itself_is_told_so(self):
        pool = self.pool(1)
        mine = []
        has_it = threading.Event()

        def body():
            has_it.wait()
            return mine[0].get()

        mine.append(pool.apply_async(body))
        has_it.set()
        self.assertRaises(crewpool.DeadlockError, mine[0].get)

    def test_141617_tasks_may_wait_for_a_stream_whose_input_waits_for_another_task(self):
        for name, workers, timeout in itertools.product(("imap", "imap_unordered"), (1, 3), (None, 50)):
            pool = self.pool(workers)
            begins = threading.Event()

            def source(pool=pool, begins=begins):
                begins.wait()
                for number in range(5):
                    yield pool.apply(abs, (-number,))

            def consume(_, name=name, pool=pool, timeout=timeout):
                stream = getattr(pool, name)(abs, source())  # noqa: B023
                return sum(stream.next(timeout) for _ in range(5))

            results = [pool.apply_async(consume, (n,)) for n in range(workers)]
            begins.set()
            self.assertEqual([result.get() for result in results], [10] * workers)

    def test_88110_and_90622_a_forked_child_is_told_whose_pool_it_is(self):
        pool = self.pool(2)
        gate = Gate()
        pending = pool.apply_async(gate)
        gate.arrived()
        stream = pool.imap(gate, [1])
        gate.arrived()
        child = os.fork()
        if child == 0:
            try:
                waits = pending.get, lambda: pool.apply(abs, (1,)), lambda: pool.map(abs, [1]), lambda: next(stream)
                for call in waits:
                    self.assertRaises(crewpool.ForkedError, call)
                pool.terminate()
                self.assertTrue(pool.join())
                with crewpool.ThreadPool(1) as own:
                    self.assertEqual(own.map(abs, [-1, 2]), [1, 2])
                os._exit(0)
            except BaseException:
                os._exit(1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        gate.open()
        pending.get()
        self.assertEqual(next(stream), 1)

    def test_not_filed_input_that_raises_or_lies_about_its_length_hangs_nothing(self):
        class Lies:
            def __init__(self, says, has):
                self.says, self.has = says, has

            def __len__(self):
                return self.says

            def __iter__(self):
                yield from range(self.has)
                if self.has == 3:
                    raise OSError("torn")

        pool = self.pool(2)
        for chunk in (None, 1, 5):
            self.assertRaises(OSError, pool.map, abs, Lies(10, 3), chunk)
            self.assertEqual(pool.map(abs, Lies(10, 4), chunk), [0, 1, 2, 3])
            self.assertEqual(pool.map(abs, Lies(1, 4), chunk), [0, 1, 2, 3])
        for chunk in (0, -1):
            self.assertRaisesRegex(ValueError, "Chunksize must be 1", pool.map, abs, [1], chunk)
        for chunk in (1.5, "a"):
            self.assertRaises(TypeError, pool.map, abs, [1], chunk)

    def test_not_filed_an_error_in_an_imap_chunk_comes_in_its_place_and_loses_nothing(self):
        def body(number):
            if number == 1:
                raise ValueError
            return number

        pool = self.pool(1)
        for name in ("imap", "imap_unordered"):
            stream = getattr(pool, name)(body, range(8), 4)
            self.assertEqual(next(stream), 0)
            self.assertRaises(ValueError, next, stream)
            self.assertEqual(stream.next(timeout=50), 2)
            self.assertEqual(list(stream), [3, 4, 5, 6, 7])

    def test_not_filed_a_stuck_input_stops_no_other_call_and_not_terminate(self):
        pool = self.pool(1)
        gate = Gate()
        stream = pool.imap(abs, (gate(n) for n in range(3)))
        gate.arrived()
        self.assertEqual(pool.apply_async(abs, (-1,)).get(), 1)
        self.assertRaises(multiprocessing.TimeoutError, stream.next, 0.01)
        pool.terminate()
        self.assertTrue(pool.join())
        self.assertRaises(crewpool.TerminatedError, next, stream)
        gate.open()

    def test_not_filed_consumers_may_share_an_iterator(self):
        pool = self.pool(2)
        for source in (range(4000), iter(range(4000))):
            stream = pool.imap(abs, source)
            taken = [[] for _ in range(4)]
            threads = [threading.Thread(target=each.extend, args=(stream,)) for each in taken]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(itertools.chain(*taken)), list(range(4000)))

    def test_a_dropped_stream_with_a_limit_lets_go_of_its_source(self):
        pool = self.pool(1)
        released = threading.Event()

        def source():
            try:
                yield from itertools.count()
            finally:
                released.set()

        stream = pool.imap(abs, source(), buffersize=2)
        self.assertEqual(next(stream), 0)
        del stream
        self.assertTrue(released.wait(50))


class ExecutorRows(Case):
    def test_92001_and_87893_cancelled_futures_are_done_at_once_for_all_who_wait(self):
        gate = Gate()
        with crewpool.ThreadPoolExecutor(1) as executor:
            executor.submit(gate)
            gate.arrived()
            first, second = executor.submit(abs, 1), executor.submit(abs, 2)
            waiter = threading.Thread(target=concurrent.futures.wait, args=([first, second],))
            waiter.start()
            self.assertTrue(first.cancel())
            self.assertTrue(first.cancel())
            self.assertEqual(concurrent.futures.wait([first]).done, {first})
            executor.shutdown(wait=False, cancel_futures=True)
            waiter.join()
            self.assertEqual(set(concurrent.futures.as_completed([first, second])), {first, second})
            self.assertTrue(second.cancelled())
            gate.open()

    def test_108518_an_error_comes_in_its_place_and_the_map_goes_on(self):
        with crewpool.ThreadPoolExecutor(2) as executor:
            results = executor.map(divmod, [1, 1, 1], [1, 0, 1])
            self.assertEqual(next(results), (1, 0))
            self.assertRaises(ZeroDivisionError, next, results)
            self.assertEqual(next(results), (1, 0))
            self.assertRaises(StopIteration, next, results)

    def test_74028_and_131466_a_buffersize_is_a_strict_bound(self):
        pulled = []
        with crewpool.ThreadPoolExecutor(2) as executor:
            results = executor.map(abs, (pulled.append(n) or n for n in itertools.count()), buffersize=3)
            self.assertEqual(len(pulled), 3)
            for taken in range(10):
                self.assertEqual(next(results), taken)
                self.assertEqual(len(pulled), taken + 4)
            self.assertRaisesRegex(TypeError, "must be an integer", executor.map, abs, [], buffersize=1.5)
            self.assertRaisesRegex(ValueError, "must be None or > 0", executor.map, abs, [], buffersize=0)

    def test_146392_a_shutdown_loses_nothing_that_was_submitted_and_is_told(self):
        executor = crewpool.ThreadPoolExecutor(2)
        results = executor.map(abs, itertools.count(), buffersize=3)
        self.assertEqual(next(results), 0)
        executor.shutdown()
        self.assertEqual([next(results) for _ in range(3)], [1, 2, 3])
        self.assertRaises(RuntimeError, next, results)
        self.assertRaises(StopIteration, next, results)

    def test_not_filed_whatever_a_done_callback_raises_costs_no_worker(self):
        with crewpool.ThreadPoolExecutor(1) as executor:
            for error in (SystemExit(), ValueError("later")):
                called = []
                gate = Gate()
                future = executor.submit(gate)
                gate.arrived()
                future.add_done_callback(raiser(error))
                future.add_done_callback(called.append)
                with self.assertLogs("concurrent.futures", "ERROR"):
                    gate.open()
                    executor.submit(abs, 1).result()
                self.assertEqual(called, [future])

    def test_85754_values_of_a_map_are_let_go_as_they_are_taken(self):
        alive = threading.local()
        del alive
        import weakref

        with crewpool.ThreadPoolExecutor(1) as executor:
            for value in executor.map(Ordered, range(10)):
                seen = weakref.ref(value)
                del value
                let_go()
                self.assertIsNone(seen())

    def test_141617_tasks_that_wait_for_futures_of_a_full_executor_do_not_deadlock(self):
        with crewpool.ThreadPoolExecutor(1) as executor:

            def tree(depth):
                futures = [executor.submit(tree, depth - 1) for _ in range(2)] if depth else []
                return sum(future.result() for future in futures) or 1

            self.assertEqual(executor.submit(tree, 6).result(), 64)


if __name__ == "__main__":
    unittest.main()
