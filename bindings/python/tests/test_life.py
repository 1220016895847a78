# SPDX-License-Identifier: MIT
"""Beginning and end: the interpreter's exit, reference counts, many threads, executors and asyncio."""

import asyncio
import concurrent.futures
import gc
import hashlib
import sys
import threading
import unittest
import weakref

try:
    import _testcapi
except ImportError:
    _testcapi = None

import crewpool
from support import Case, Gate, Ordered, let_go


class AtExit(Case):
    def test_a_live_pool_neither_hangs_nor_crashes_the_exit(self):
        for last in ("", "pool.close()", "pool.terminate()", "pool.apply_async(time.sleep, (100,))",
                     "stream = pool.imap(abs, iter(int, 1))", "gc.disable(); pool.me = pool"):  # fmt: skip
            with self.subTest(last=last):
                program = f"""
                import crewpool, gc, time, warnings
                warnings.simplefilter("ignore")
                pool = crewpool.ThreadPool(2)
                result = pool.apply_async(print, (1,))
                result.wait()
                {last}
                """
                self.assert_program(program, "1")

    def test_tasks_that_go_on_while_the_interpreter_ends_crash_nothing(self):
        for kind in ("apply_async(busy)", "map_async(busy, [None] * 50, 1)", "imap(busy, [None] * 50)"):
            with self.subTest(kind=kind):
                program = f"""
                import crewpool, threading, time, warnings
                warnings.simplefilter("ignore")
                pool, began = crewpool.ThreadPool(2), threading.Semaphore(0)
                def busy(_=None):
                    began.release()
                    while True:
                        open("/dev/null").close()
                pending = [pool.{kind} for _ in range(2)]
                rest = [pool.apply_async(abs, (n,)) for n in range(10000)]
                began.acquire(), began.acquire()
                print(1)
                """
                for _ in range(5):
                    self.assert_program(program, "1")

    def test_an_executor_finishes_its_work_before_the_exit(self):
        program = """
        import atexit, crewpool
        executor = crewpool.ThreadPoolExecutor(1)
        def late():
            try:
                executor.submit(abs, 1)
            except RuntimeError as error:
                print(error)
        atexit.register(late)
        for n in range(3):
            executor.submit(print, n)
        if {}:
            del executor, late
        """
        self.assert_program(program.format(0), "0 1 2 cannot schedule new futures after interpreter shutdown")
        self.assert_program(program.format(1).replace("atexit.register(late)", ""), "0 1 2")

    @unittest.skipIf((3, 12) <= sys.version_info < (3, 12, 2), "starts no thread once the main thread has ended")
    def test_148280_and_113964_threads_may_submit_after_the_main_thread_has_ended(self):
        program = """
        import atexit, crewpool, threading
        pool = crewpool.{}
        def go_on():
            threading.main_thread().join()
            submit = getattr(pool, "submit", None) or (lambda f, *a: pool.apply_async(f, a))
            for n in range(3):
                submit(print, n, flush=True).result() if hasattr(pool, "submit") else pool.apply(print, (n,), dict(flush=True))
            if hasattr(pool, "submit"):
                submit(print, 3)
        threading.Thread(target=go_on).start()
        atexit.register(print, "atexit")
        """
        self.assert_program(program.format("ThreadPoolExecutor(1)"), "0 1 2 3 atexit")
        self.assert_program(program.format("ThreadPool(1, wait_at_exit=True)"), "0 1 2 atexit")

    def test_80961_an_exit_that_waits_does_so_for_streams_that_are_still_fed(self):
        program = """
        import crewpool
        pool = crewpool.ThreadPool(2, wait_at_exit=True)
        stream = pool.imap(print, (n for n in range(3)), 3)
        """
        self.assert_program(program, "0 1 2", "-W", "ignore")

    def test_148280_executors_of_both_kinds_end_side_by_side(self):
        program = """
        import concurrent.futures, crewpool
        executors = concurrent.futures.ThreadPoolExecutor(1), crewpool.ThreadPoolExecutor(1)
        assert [executor.submit(abs, -1).result() for executor in executors] == [1, 1]
        executors[1].submit(print, "done")
        """
        self.assert_program(program, "done")

    def test_80961_and_86575_whether_the_exit_waits_is_a_matter_of_the_pool(self):
        program = """
        import atexit, crewpool, threading, warnings
        warnings.simplefilter("ignore")
        go = threading.Event()
        came = threading.Semaphore(0)
        def work(n):
            came.release()
            go.wait()
            print(n)
        pool = crewpool.{kind}(1, wait_at_exit={waits})
        submit = getattr(pool, "submit", None) or (lambda f, *a: pool.apply_async(f, a))
        submit(work, 1)
        submit(work, 2)
        stream = pool.imap(print, [3]) if hasattr(pool, "imap") else submit(print, 3)
        came.acquire()
        {last}
        """
        for kind in ("ThreadPool", "ThreadPoolExecutor"):
            self.assert_program(program.format(kind=kind, waits=True, last="go.set()"), "1 2 3")
            self.assert_program(program.format(kind=kind, waits=False, last=""), "")
            daemon = "print(next(iter(getattr(pool, '_threads', None) or pool._pool)).daemon)"
            self.assert_program(program.format(kind=kind, waits=False, last=daemon), "True")
            self.assert_program(program.format(kind=kind, waits=True, last=daemon + "; go.set()"), "False 1 2 3")


    def test_executors_that_their_own_work_drops_may_be_many_at_the_exit(self):
        program = """
        import crewpool, itertools
        made = itertools.count()
        for n in range(200):
            executor = crewpool.ThreadPoolExecutor(1)
            for _ in range(3):
                executor.submit(next, made)
        executor.submit(print, "done")
        del executor
        """
        self.assert_program(program, "done")


class SubInterpreters(Case):
    PROGRAM = """if True:
        import gc, itertools, sys, threading, time
        import crewpool
        pool, executor = crewpool.ThreadPool(2), crewpool.ThreadPoolExecutor(2)
        result = pool.apply_async(abs, (-3,))
        assert result.get() == 3
        assert pool.map(abs, range(-5, 5))[0] == 5
        futures = [executor.submit(abs, -n) for n in range(100)]
        assert futures[7].result() == 7
        {last}
    """
    ENDINGS = (
        "",
        "del pool",
        "executor.shutdown()",
        "pool.terminate()",
        "pool.close(); pool.join()",
        "stream = pool.imap(abs, itertools.count()); assert next(stream) == 0",
        "stream = pool.imap(abs, itertools.count(), buffersize=2); assert next(stream) == 0",
        "pool.apply_async(threading.Event().wait, (0.01,))",
        "del pool, executor, result, futures, crewpool, sys.modules['crewpool']; gc.collect()",
    )

    @unittest.skipUnless(_testcapi, "the interpreter has no _testcapi")
    def test_an_interpreter_with_live_pools_ends_after_their_threads(self):
        for ending in self.ENDINGS:
            with self.subTest(ending=ending):
                program = self.PROGRAM.format(last=ending)
                quietly = "import warnings; warnings.simplefilter('ignore')\n"
                self.assertEqual(_testcapi.run_in_subinterp(quietly + program), 0)
        with crewpool.ThreadPool(1) as pool:
            self.assertEqual(pool.apply(abs, (-1,)), 1)


class References(Case):
    def test_a_hundred_thousand_tasks_leave_nothing_behind(self):
        marker = object()

        def body(given):
            return given

        def work(count):
            with crewpool.ThreadPool(2) as pool:
                for result in [pool.apply_async(body, (marker,), callback=None) for _ in range(count)]:
                    result.get()
                for result in [pool.apply_async(body, (marker,), callback=body) for _ in range(count // 10)]:
                    result.get()
                pool.map(body, [marker] * count)
                for _ in pool.imap(body, [marker] * count, 7):
                    pass
                for _ in pool.imap_unordered(body, (marker for _ in range(count // 10)), buffersize=5):
                    pass
                for _ in range(count // 100):
                    pool.apply(body, (marker,))
            pool.join()
            with crewpool.ThreadPoolExecutor(2) as executor:
                concurrent.futures.wait([executor.submit(body, marker) for _ in range(count // 100)])
                list(executor.map(body, [marker] * (count // 100)))

        work(100)
        gc.collect()
        before = sys.getrefcount(marker), sys.getrefcount(body), len(gc.get_objects())
        work(100_000)
        gc.collect()
        after = sys.getrefcount(marker), sys.getrefcount(body), len(gc.get_objects())
        self.assertEqual(before[:2], after[:2])
        self.assertLess(after[2] - before[2], 200)

    def test_arguments_go_when_the_task_has_ended_and_values_with_their_result(self):
        with crewpool.ThreadPool(1) as pool:
            argument = Ordered()
            seen = weakref.ref(argument)
            result = pool.apply_async(lambda given: None, (argument,), {})
            del argument
            result.get()
            let_go()
            self.assertIsNone(seen())
            value = weakref.ref(pool.apply(Ordered))
            let_go()
            self.assertIsNone(value())
            failed = pool.apply_async(lambda given: 1 / 0, (Ordered(),))
            self.assertRaises(ZeroDivisionError, failed.get)

    def test_a_cycle_through_a_result_is_collected(self):
        with crewpool.ThreadPool(1) as pool:
            holder = Ordered()
            holder.result = pool.apply_async(lambda: holder)
            self.assertIs(holder.result.get(), holder)
            seen = weakref.ref(holder)
            del holder
            gc.collect()
            self.assertIsNone(seen())

    def test_a_pool_in_a_cycle_is_collected(self):
        with self.assertWarns(ResourceWarning):
            pool = crewpool.ThreadPool(1)
            pool.apply(abs, (1,))
            pool.me = pool
            seen = weakref.ref(pool)
            del pool
            gc.collect()
        gc.collect()  # again: the warning revived the pool; from 3.15 weak references survive that
        self.assertIsNone(seen())


class BothWorlds(Case):
    def test_results_of_pools_are_futures(self):
        with crewpool.ThreadPool(2) as pool:
            gate = Gate()
            results = [pool.apply_async(gate, (1,)), pool.map_async(abs, [-1]), pool.apply_async(int, ("x",))]
            self.assertIsInstance(results[0], concurrent.futures.Future)
            done = concurrent.futures.wait(results, return_when=concurrent.futures.FIRST_COMPLETED)
            self.assertTrue(done.done and results[0] in done.not_done)
            gate.open()
            self.assertEqual(set(concurrent.futures.as_completed(results)), set(results))
            self.assertEqual([results[0].result(), results[1].result()], [1, [1]])
            self.assertIsInstance(results[2].exception(), ValueError)
            told = []
            results[0].add_done_callback(told.append)
            self.assertEqual(told, [results[0]])

    def test_queued_results_can_be_cancelled_and_running_ones_cannot(self):
        with crewpool.ThreadPool(1) as pool:
            gate = Gate()
            running = pool.apply_async(gate)
            gate.arrived()
            told = []
            queued = [pool.apply_async(told.append, (1,)), pool.map_async(told.append, [1]),
                      pool.apply_async(abs, (1,), callback=told.append)]  # fmt: skip
            self.assertFalse(running.cancel())
            for result in queued:
                self.assertTrue(result.cancel() and result.cancelled() and result.done() and not result.successful())
                self.assertRaises(concurrent.futures.CancelledError, result.get)
            gate.open()
            pool.close()
            pool.join()
            self.assertEqual(told, [])

    def test_results_can_be_awaited(self):
        async def main():
            with crewpool.ThreadPool(2) as pool:
                self.assertEqual(await pool.apply_async(abs, (-1,)), 1)
                self.assertEqual(await asyncio.wait_for(pool.map_async(abs, [-1]), 50), [1])
                self.assertEqual(await asyncio.gather(*[pool.apply_async(abs, (n,)) for n in range(9)]), list(range(9)))
                with self.assertRaises(ZeroDivisionError):
                    await asyncio.wrap_future(pool.apply_async(divmod, (1, 0)))

        asyncio.run(main())

    def test_an_executor_serves_asyncio(self):
        async def main():
            loop = asyncio.get_running_loop()
            loop.set_default_executor(crewpool.ThreadPoolExecutor(2, "mine"))
            name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
            self.assertRegex(name, "^mine_[01]$")

        asyncio.run(main())

    def test_futures_belong_to_their_executor(self):
        with crewpool.ThreadPoolExecutor(1) as executor:
            future = executor.submit(abs, -2)
            self.assertEqual(future.result(), 2)
            self.assertRegex(repr(future), "^<Future at 0x[0-9a-f]+ state=finished returned int>$")
            for call in (future.set_result, future.set_exception):
                self.assertRaises(concurrent.futures.InvalidStateError, call, None)


class ManyThreads(Case):
    """With the interpreter switching between threads all the time, as far as one with a GIL can."""

    def setUp(self):
        super().setUp()
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)

    def on_threads(self, count, body):
        """Calls body(number) on so many threads; what one of them raises is raised."""
        errors = []

        def run(number):
            try:
                body(number)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in errors:
            raise error

    def test_many_threads_use_one_pool(self):
        def use(number):
            for n in range(100):
                results = [pool.apply_async(divmod, (n, 7)) for _ in range(5)]
                results[2].cancel()
                stream = pool.imap(abs, [number, n])
                good = [result.get() for result in results if not result.cancelled()]
                self.assertGreaterEqual(good.count(divmod(n, 7)), 4)
                self.assertEqual(pool.map(abs, [-n] * 5, 2), [n] * 5)
                self.assertEqual(list(stream), [number, n])
                self.assertEqual(pool.apply(str, (n,)), str(n))

        for limits in ({}, {"queue_max": 3}):
            with crewpool.ThreadPool(3, **limits) as pool:
                self.on_threads(6, use)

    def test_many_threads_use_one_executor(self):
        told = []

        def use(number):
            for n in range(60):
                futures = [executor.submit(divmod, n, 7) for _ in range(5)]
                for future in futures:
                    future.add_done_callback(told.append)
                futures[3].cancel()
                done = concurrent.futures.wait(futures).done
                self.assertEqual(done, set(futures))
                self.assertEqual(set(concurrent.futures.as_completed(futures)), done)
                self.assertEqual(list(executor.map(abs, [-n, number], buffersize=1)), [n, number])

        with crewpool.ThreadPoolExecutor(3) as executor:
            self.on_threads(6, use)
        self.assertEqual((len(told), len(set(told))), (6 * 60 * 5, 6 * 60 * 5))

    def test_many_threads_share_results_and_streams(self):
        with crewpool.ThreadPool(2) as pool:
            for round in range(30):
                told, taken = [], []
                results = [pool.apply_async(abs, (-n,)) for n in range(20)]
                source = range(200) if round % 2 else iter(range(200))
                stream = (pool.imap, pool.imap_unordered)[round // 2 % 2](abs, source, 1 + round % 3, 4)

                def use(number, results=results, stream=stream, told=told, taken=taken):
                    for result in results[number:] + results[:number]:
                        result.add_done_callback(told.append)
                        if result is results[5]:
                            result.cancel()
                        elif number % 2:
                            concurrent.futures.wait([result])
                    taken.extend(stream)
                    values = [result.get() for result in results if not result.cancelled()]
                    self.assertLessEqual(set(range(20)) - {5}, set(values))

                self.on_threads(4, use)
                self.assertEqual(sorted(taken), list(range(200)))
                self.assertEqual(len(told), 4 * 20)

    def test_a_pool_that_many_threads_use_may_be_terminated_by_any_of_them(self):
        for round in range(40):
            pool = crewpool.ThreadPool(2, queue_max=round % 3)

            def use(number, pool=pool):
                try:
                    for n in range(50):
                        results = pool.apply_async(abs, (n,)), pool.map_async(abs, range(n)), pool.imap(abs, iter([n]))
                        if (number, n) == (0, 20):
                            pool.terminate()
                        self.assertEqual(results[0].get(), n)
                        self.assertEqual(len(results[1].get()), n)
                        self.assertEqual(list(results[2]), [n])
                except (crewpool.TerminatedError, ValueError):
                    self.assertEqual(pool._state, "TERMINATE")

            self.on_threads(4, use)
            self.assertTrue(pool.join())

    def test_pools_come_and_go_with_work_left(self):
        for round in range(100):
            pool = crewpool.ThreadPool(3)
            results = [pool.apply_async(hashlib.sha256, (b"x" * 5000,)) for _ in range(20)]
            maps = [pool.map_async(abs, range(50), 1, callback=lambda _: None) for _ in range(3)]
            stream = pool.imap(abs, iter(range(50)))
            if round % 2:
                next(stream)
            pool.terminate()
            pool.join()
            for result in results + maps:
                self.assertTrue(result.cancelled() or result.successful())

    def test_many_threads_make_pools_and_drop_them(self):
        def use(number):
            for n in range(25):
                executor = crewpool.ThreadPoolExecutor(2, initializer=abs, initargs=(n,))
                futures = [executor.submit(abs, -number) for _ in range(3)]
                del executor
                self.assertEqual([future.result() for future in futures], [number] * 3)
                with crewpool.ThreadPool(1) as pool:
                    results = [pool.map_async(abs, range(n), 1) for _ in range(3)]
                for result in results:
                    try:
                        self.assertEqual(result.get(), list(range(n)))
                    except crewpool.TerminatedError:
                        self.assertTrue(result.cancelled())

        self.on_threads(4, use)

    def test_native_tasks_let_other_threads_have_the_interpreter(self):
        with crewpool.ThreadPool(1) as pool:
            pool.map_async(abs, [1] * 3_000_000, 3_000_000)
            turns = 0
            result = pool.apply_async(abs, (1,))
            while not result.ready():
                turns += 1
            self.assertGreater(turns, 0)


if __name__ == "__main__":
    unittest.main()
