# SPDX-License-Identifier: MIT
"""ThreadPool does what multiprocessing.pool.ThreadPool does: both are asked the same, and must answer the same."""

import multiprocessing
import multiprocessing.pool
import os
import pickle
import threading
import unittest

import crewpool
from support import Case, Gate

POOLS = (multiprocessing.pool.ThreadPool, crewpool.ThreadPool)


def fail_at(bad):
    def body(number):
        if number == bad:
            raise ValueError(number)
        return number * number

    return body


def outcome(body, *arguments, **keywords):
    """What a call returns, or what it raises, as something that can be compared."""
    try:
        return body(*arguments, **keywords)
    except Exception as error:
        return type(error), str(error)


class TheSameAnswers(Case):
    def both(self, question):
        """Asks both classes. Messages may name the class."""
        answers = []
        for kind in POOLS:
            with kind(3) as pool:
                answers.append(question(pool))
        self.assertEqual(*answers)
        return answers[1]

    def test_apply_passes_positions_and_names(self):
        self.assertEqual(self.both(lambda pool: pool.apply(dict, ([("a", 1)],), {"b": 2})), {"a": 1, "b": 2})
        self.assertEqual(self.both(lambda pool: pool.apply(func=pow, args=[2, 5])), 32)
        self.assertEqual(self.both(lambda pool: pool.apply(pow, iter((2, 6)))), 64)

    def test_what_a_task_raises_is_raised_by_get_as_the_same_object(self):
        error = KeyError("k")

        def body():
            raise error

        def question(pool):
            result = pool.apply_async(body)
            caught = []
            for _ in range(2):
                try:
                    result.get()
                except KeyError as raised:
                    caught.append(raised)
            return caught

        self.assertEqual(self.both(question), [error, error])

    def test_bad_calls_are_told_by_get(self):
        for arguments in ((3,), (pow, 7), (pow, ("a", "b")), (int, (), {"nonsense": 1})):
            with self.subTest(arguments=arguments):
                kind = self.both(lambda pool, given=arguments: outcome(pool.apply_async(*given).get)[0])
                self.assertIs(kind, TypeError)

    def test_maps_give_the_same_values_in_order_whatever_the_chunks(self):
        for items in ([], [7], range(100), (n for n in range(10)), "text", {3: 1}):
            items = list(items)
            for chunk in (None, 1, 7, 1000):
                with self.subTest(items=len(items), chunk=chunk):
                    self.both(lambda pool, i=items, c=chunk: pool.map(repr, i, c))
                    self.both(lambda pool, i=items, c=chunk: pool.map(repr, iter(i), chunksize=c))

    def test_starmaps_spread_each_item(self):
        self.assertEqual(self.both(lambda pool: pool.starmap(pow, [(2, 3), [3, 2], iter((1, 9))])), [8, 9, 1])
        self.assertEqual(self.both(lambda pool: pool.starmap_async(pow, [(2, 3)], 1).get()), [8])
        self.assertEqual(self.both(lambda pool: outcome(pool.starmap, pow, [(2, 3), 4]))[0], TypeError)

    def test_an_error_ends_its_chunk_only(self):
        def question(pool):
            seen = set()

            def body(number):
                seen.add(number)
                return fail_at(5)(number)

            answer = outcome(pool.map, body, range(12), 4)
            return answer, seen

        self.assertEqual(self.both(question), ((ValueError, "5"), set(range(12)) - {6, 7}))

    def test_callbacks_get_the_value_or_the_error_before_it_is_ready(self):
        def question(pool):
            told = []
            ready = []
            gate = Gate()
            result = pool.apply_async(
                gate, (4,), callback=lambda value: (told.append(value), ready.append(result.ready()))
            )
            gate.open()
            result.wait()
            failed = pool.map_async(fail_at(2), [1, 2], 1, None, lambda error: told.append(str(error)))
            failed.wait()
            empty = pool.map_async(abs, [], callback=told.append)
            return told, ready, failed.successful(), empty.ready(), empty.get()

        self.assertEqual(self.both(question), ([4, "2"], [False], False, True, []))

    def test_a_result_that_is_not_ready_says_so(self):
        for kind in POOLS:
            gate = Gate()
            with kind(1) as pool:
                result = pool.apply_async(gate)
                gate.arrived()
                self.assertFalse(result.ready())
                self.assertRaisesRegex(ValueError, "^<.*Result.*> not ready$", result.successful)
                for timeout in (0, -1, 0.001):
                    self.assertRaises(multiprocessing.TimeoutError, result.get, timeout)
                self.assertIsNone(result.wait(0.001))
                gate.open()
                result.wait()
                self.assertIs(result.successful(), True)

    def test_imaps_go_on_after_an_error_and_end_for_ever(self):
        def question(pool):
            iterator = pool.imap(fail_at(1), range(3))
            return [outcome(next, iterator) for _ in range(5)] + [iter(iterator) is iterator]

        self.assertEqual(
            self.both(question), [0, (ValueError, "1"), 4, (StopIteration, ""), (StopIteration, ""), True]
        )

    def test_imaps_tell_a_failing_source_after_what_it_gave(self):
        def source():
            yield 1
            yield 2
            raise OSError("torn")

        for chunk, good in ((1, [1, 4]), (2, [1, 4]), (3, [])):
            for name in ("imap", "imap_unordered"):
                with crewpool.ThreadPool(1) as pool:
                    iterator = getattr(pool, name)(lambda n: n * n, source(), chunk)
                    answers = [outcome(next, iterator) for _ in range(4)]
                ends = [(OSError, "torn")] + [(StopIteration, "")] * 3
                self.assertEqual(answers, (good + ends)[:4], (chunk, name))
        self.assertEqual(self.both(lambda pool: outcome(next, pool.imap(abs, 5)))[0], TypeError)

    def test_refusals_have_the_same_words(self):
        def question(pool):
            refusals = [outcome(pool.imap, abs, [], 0), outcome(pool.imap_unordered, abs, [], -1), outcome(pool.join)]
            refusals.append(outcome(pickle.dumps, pool))
            pool.close()
            calls = [pool.apply, pool.apply_async]
            refusals += [outcome(call, abs, (1,)) for call in calls]
            calls = [pool.map, pool.map_async, pool.starmap, pool.starmap_async, pool.imap, pool.imap_unordered]
            return refusals + [outcome(call, abs, [1]) for call in calls] + [outcome(pool.__enter__)]

        self.both(question)
        for arguments in ((0,), (-1,), (2.5,), ("3",), (1, 5)):
            self.assertEqual(*(outcome(kind, *arguments)[0] for kind in POOLS), arguments)

    def test_the_words_of_buffersize_are_those_of_3_16(self):
        with crewpool.ThreadPool(1) as pool:
            for name in ("imap", "imap_unordered"):
                imap = getattr(pool, name)
                with self.assertRaisesRegex(TypeError, "^buffersize must be an integer or None$"):
                    imap(abs, [], 1, 1.5)
                with self.assertRaisesRegex(ValueError, "^buffersize must be None or > 0$"):
                    imap(abs, [], buffersize=0)
                self.assertEqual(sorted(imap(abs, range(50), 3, buffersize=2)), list(range(50)))

    def test_the_life_of_a_pool_shows_in_its_repr(self):
        pool = crewpool.ThreadPool(2)
        self.assertEqual(repr(pool), "<crewpool.ThreadPool state=RUN pool_size=2>")
        pool.close()
        self.assertIn("state=CLOSE", repr(pool))
        pool.terminate()
        pool.close()
        self.assertIn("state=TERMINATE", repr(pool))
        self.assertTrue(pool.join())
        self.assertTrue(pool.join())

    def test_closing_runs_what_is_queued_streams_included(self):
        for source in (range(100), iter(range(100))):
            pool = crewpool.ThreadPool(2)
            seen = []
            results = [pool.apply_async(seen.append, (n,)) for n in range(100)]
            stream = pool.imap(seen.append, source)
            pool.close()
            pool.join()
            self.assertEqual(len(seen), 200)
            self.assertTrue(all(result.successful() for result in results))
            self.assertEqual(list(stream), [None] * 100)

    def test_an_unclosed_pool_warns_and_its_results_arrive(self):
        with self.assertWarnsRegex(ResourceWarning, "unclosed running multiprocessing pool"):
            self.assertEqual(crewpool.ThreadPool(1).apply_async(abs, (-3,)).get(), 3)
            self.assertEqual(list(crewpool.ThreadPool(1).imap(abs, [-1, -2])), [1, 2])

    def test_the_classes_are_those_that_clients_test_for(self):
        with crewpool.ThreadPool(3) as pool:
            self.assertIsInstance(pool, multiprocessing.pool.Pool)
            self.assertIsInstance(pool.apply_async(abs, (1,)), multiprocessing.pool.AsyncResult)
            self.assertIsInstance(pool.map_async(abs, [1]), multiprocessing.pool.MapResult)
            self.assertIsInstance(pool.imap(abs, [1]), multiprocessing.pool.IMapIterator)
            self.assertIsInstance(pool.imap_unordered(abs, [1]), multiprocessing.pool.IMapUnorderedIterator)
            self.assertEqual((len(pool._pool), pool._processes, pool._state), (3, 3, "RUN"))
            self.assertEqual(crewpool.AsyncResult[int].__origin__, crewpool.AsyncResult)
        self.assertRaises(TypeError, crewpool.AsyncResult)

    def test_tasks_run_on_daemon_threads_of_the_pool_only(self):
        with crewpool.ThreadPool(3) as pool:
            threads = set(pool.map(lambda _: threading.current_thread(), range(100), 1))
            self.assertLessEqual(len(threads), 3)
            self.assertTrue(all(thread.daemon and thread.is_alive() for thread in threads))
            self.assertNotIn(threading.main_thread(), threads)
            self.assertLessEqual(threads, set(threading.enumerate()))
        pool.join()
        self.assertFalse(any(thread.is_alive() for thread in threads))
        self.assertFalse(threads & set(threading.enumerate()))

    def test_initializers_run_once_in_each_thread_before_its_tasks(self):
        local = threading.local()
        calls = []

        def initialise(*arguments):
            local.ready = True
            calls.append(arguments)

        gate = Gate()
        with crewpool.ThreadPool(3, initialise, (1, 2)) as pool:
            results = [pool.apply_async(gate) for _ in range(3)]
            gate.arrived(3)
            gate.open()
            [result.get() for result in results]
            self.assertEqual(pool.map(lambda _: local.ready, range(50), 1), [True] * 50)
        self.assertEqual(calls, [(1, 2)] * 3)

    def test_the_default_size_is_what_python_says_where_it_knows(self):
        with crewpool.ThreadPool() as pool:
            known = os.process_cpu_count() if hasattr(os, "process_cpu_count") else crewpool._core.cpu_count()
            self.assertEqual(pool._processes, known)

    def test_subclasses_and_dummy_pools_work(self):
        class Mine(crewpool.ThreadPool):
            def __exit__(self, *_):
                self.close()
                self.join()

        with Mine(1) as pool:
            result = pool.apply_async(abs, (-1,))
        self.assertEqual(result.get(0), 1)


if __name__ == "__main__":
    unittest.main()
