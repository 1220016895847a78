// SPDX-License-Identifier: MIT

// The workloads of one job at a time: many at once, one waited for, one that submits another.
package main

import (
	"sync"
	"time"
)

// ---- fan-out ----

// twoRounds measures a first round, on cold memory, and a second. What is prepared before each is not timed.
func twoRounds(n int, prepare func() func()) {
	for _, metric := range []string{"cold", "warm"} {
		round := prepare()
		reportPer(metric, "ns", time.Nanosecond, timed(round), n)
	}
}

// A pool, not a goroutine for each job: 100 ns, not 300.
func fanout(asked request) {
	shared := warmPool(asked.workers)
	twoRounds(asked.n, func() func() {
		return func() { submitAndGet(shared, asked.n) }
	})
}

func submitAndGet(on *pool, n int) {
	handles := make([]*future, n)
	for index := range handles {
		handles[index] = on.submit(one)
	}
	for index, handle := range handles {
		handle.get()
		handles[index] = nil
	}
}

// A pool, not a goroutine for each job: 40 ns, not 130.
func detachedRound(asked request) func() {
	used := warmPool(asked.workers)
	return func() {
		for index := 0; index < asked.n; index++ {
			used.jobs <- empty
		}
		used.drain()
	}
}

func fanoutDetached(asked request) {
	twoRounds(asked.n, func() func() { return detachedRound(asked) })
}

func depth(asked request) {
	reportPer("cold", "ns", time.Nanosecond, timed(detachedRound(asked)), asked.n)
}

func fanoutBulk(asked request) {
	forEach(asked.workers, asked.workers, emptyIndex)
	twoRounds(asked.n, func() func() {
		return func() { forEach(asked.workers, asked.n, emptyIndex) }
	})
}

const outsiders = 4

func producers(asked request) {
	share := (asked.n + outsiders - 1) / outsiders
	twoRounds(share*outsiders, func() func() {
		used := warmPool(asked.workers)
		return func() { produce(used, share) }
	})
}

func produce(used *pool, share int) {
	var producing sync.WaitGroup
	producing.Add(outsiders)
	for producer := 0; producer < outsiders; producer++ {
		go func() {
			for index := 0; index < share; index++ {
				used.jobs <- empty
			}
			producing.Done()
		}()
	}
	producing.Wait()
	used.drain()
}

// ---- one job, waited for ----

func timeCalls(calling *caller, n int, before func()) []time.Duration {
	samples := make([]time.Duration, n)
	for index := range samples {
		before()
		start := now()
		calling.call(empty)
		samples[index] = now() - start
	}
	return samples
}

// reportHot times a loop without a clock in it for the mean, then `clocked` calls one by one for the percentiles.
func reportHot(n, clocked int) {
	calling := newCaller()
	timeCalls(calling, 1000, empty)
	whole := timed(func() {
		for index := 0; index < n; index++ {
			calling.call(empty)
		}
	})
	reportPer("mean", "ns", time.Nanosecond, whole, n)
	reportPercentiles("", "ns", time.Nanosecond, timeCalls(calling, clocked, empty))
}

func applyHot(asked request) { reportHot(asked.n, (asked.n+4)/5) }

func handoffHot(asked request) { reportHot(asked.n, (asked.n*2+4)/5) }

// callCold: a goroutine has no thread of its own, so there is no row with caller and worker on two CPUs.
func callCold(asked request) {
	calling := newCaller()
	timeCalls(calling, 1000, empty)
	reportCold("", calling, asked.n)
	pinAll(oneCPU())
	reportCold("same-", calling, asked.n)
}

func reportCold(prefix string, calling *caller, n int) {
	samples := timeCalls(calling, n, func() { time.Sleep(time.Millisecond) })
	report(prefix+"mean", "ns", mean(samples))
	reportPercentiles(prefix, "ns", time.Nanosecond, samples)
}

// ---- a job that submits another ----

func spawnThenWork(asked request) {
	rounds := int(5000 * roundsPerMicrosecond())
	samples := make([]time.Duration, asked.n)
	for index := range samples {
		samples[index] = delayOfSpawned(rounds)
	}
	reportPercentiles("", "us", time.Microsecond, samples)
}

// delayOfSpawned is how long after its submission a job starts whose submitter computes on.
func delayOfSpawned(rounds int) time.Duration {
	var both sync.WaitGroup
	var submitted, started time.Duration
	both.Add(2)
	go func() {
		submitted = now()
		go func() {
			started = now()
			both.Done()
		}()
		spin(rounds)
		both.Done()
	}()
	both.Wait()
	return started - submitted
}

func nested(asked request) {
	fib(10)
	jobs := int(fibonacci(asked.n+1) - 1)
	result := int64(0)
	took := timed(func() { result = fib(asked.n) })
	if result != fibonacci(asked.n) {
		fail(1, "fib is wrong")
	}
	reportPer("spawn", "ns", time.Nanosecond, took, jobs)
}

func fibonacci(n int) int64 {
	number, next := int64(0), int64(1)
	for ; n > 0; n-- {
		number, next = next, number+next
	}
	return number
}
