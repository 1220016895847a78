// SPDX-License-Identifier: MIT

// The workloads of many items, of long and sleeping jobs, and of a pool's own costs.
package main

import (
	"math"
	"runtime"
	"time"
)

// Microseconds of a length.
func microseconds(length time.Duration) float64 { return float64(length) / float64(time.Microsecond) }

// regions times n regions one by one. Returns their wall times in ascending order, and the CPU time of all.
func regions(n int, before, region func()) ([]time.Duration, time.Duration) {
	samples, total := make([]time.Duration, n), time.Duration(0)
	for index := range samples {
		before()
		took := timed(region)
		samples[index] = took.wall
		total += took.cpu
	}
	return ascending(samples), total
}

func reportMedian(metric string, sorted []time.Duration) {
	middle := (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	report(metric, "us", microseconds(middle))
}

// ---- maps ----

const cheapRounds = 5

func mapCheap(asked request) {
	from, to := make([]float64, asked.n), make([]float64, asked.n)
	for index := range from {
		from[index], to[index] = float64(index), -1
	}
	body := squareAndOne
	serial := func() { mapRange(body, from, to) }
	serial()
	serialSamples, _ := regions(cheapRounds, empty, serial)
	parallel := func() { mapNumbers(asked.workers, body, from, to) }
	parallel()
	samples, total := regions(cheapRounds, empty, parallel)
	reportMedian("region", samples)
	report("region-best", "us", microseconds(samples[0]))
	report("region-cpu", "us", microseconds(total)/cheapRounds)
	reportMedian("serial", serialSamples)
}

func map20us(asked request) {
	rounds := int(20 * roundsPerMicrosecond())
	item := func(int) { spin(rounds) }
	forEach(asked.workers, asked.workers, item)
	reportPer("region", "us", time.Microsecond, timed(func() { forEach(asked.workers, asked.n, item) }), 1)
}

func mapSmall(asked request) {
	rounds := int(10 * roundsPerMicrosecond())
	region := func() { forEach(asked.workers, 100, func(int) { spin(rounds) }) }
	region()
	samples, _ := regions(asked.n, func() { spin(100 * rounds) }, region)
	reportMedian("region", samples)
	report("region-mean", "us", mean(samples)/float64(time.Microsecond))
	report("p99", "us", microseconds(quantile(samples, 99)))
}

func emptyMaps(workers, n int) {
	for index := 0; index < n; index++ {
		forEach(workers, 2, emptyIndex)
	}
}

func mapEmpty(asked request) {
	emptyMaps(asked.workers, 1000)
	reportPer("mean", "ns", time.Nanosecond, timed(func() { emptyMaps(asked.workers, asked.n) }), asked.n)
}

func map2Long(asked request) {
	rounds := int(5000 * roundsPerMicrosecond())
	region := func() { forEach(asked.workers, 2, func(int) { spin(rounds) }) }
	samples, _ := regions(asked.n, func() { emptyMaps(asked.workers, 10_000) }, region)
	reportMedian("region", samples)
	report("region-max", "us", microseconds(samples[len(samples)-1]))
}

// ---- jobs of very different lengths ----

// pareto: n lengths by Pareto's distribution with exponent 2, of a fixed seed: the same jobs in every program.
func pareto(n int) (lengths []float64, total float64) {
	state := uint64(965)
	for index := 0; index < n; index++ {
		state = state*6364136223846793005 + 1442695040888963407
		length := 1 / math.Sqrt((float64(state>>11)+0.5)/(1<<53))
		lengths, total = append(lengths, length), total+length
	}
	return lengths, total
}

// irregularRounds: rounds of spin for each job; a millisecond is the mean.
func irregularRounds(n int, rate float64) (rounds []int, sum int) {
	lengths, total := pareto(n)
	for _, length := range lengths {
		each := int(length / total * 1000 * float64(n) * rate)
		rounds, sum = append(rounds, each), sum+each
	}
	return rounds, sum
}

// A pool; a goroutine for each comes to the same.
func irregular(asked request) {
	rate := roundsPerMicrosecond()
	rounds, sum := irregularRounds(asked.n, rate)
	used := warmPool(asked.workers)
	took := timed(func() {
		for _, each := range rounds {
			each := each
			used.jobs <- func() { spin(each) }
		}
		used.drain()
	})
	rate = math.Max(rate, roundsPerMicrosecond())
	parallel := math.Min(float64(asked.workers), float64(runtime.NumCPU()))
	report("efficiency", "ratio", float64(sum)/rate/parallel/microseconds(took.wall))
}

// ---- a stream ----

const window = 1000

// stream: a ring of channels, one for each place in the window, used again and again: 100 ns. A new channel for each
// item is 150, a channel of channels 190, goroutines in place of a pool 160.
func stream(asked request) {
	used := warmPool(asked.workers)
	reportPer("item", "ns", time.Nanosecond, timed(func() { consume(used, asked.n) }), asked.n)
}

func consume(used *pool, n int) {
	var ring [window]chan int64
	for place := range ring {
		ring[place] = make(chan int64, 1)
	}
	for pulled, taken := 0, 0; taken < n; taken++ {
		for ; pulled < n && pulled < taken+window; pulled++ {
			place := ring[pulled%window]
			used.jobs <- func() { place <- one() }
		}
		<-ring[taken%window]
	}
}

// ---- jobs that sleep ----

// blocking: goroutines asleep need no thread, so there are no more threads than CPUs.
func blocking(asked request) {
	runtime.GOMAXPROCS(runtime.NumCPU())
	used := warmPool(asked.workers)
	took := timed(func() {
		for index := 0; index < asked.n; index++ {
			used.jobs <- func() { time.Sleep(time.Millisecond) }
		}
		used.drain()
	})
	reportPer("total", "us", time.Microsecond, took, 1)
}

// ---- a pool's own costs ----

func reportCycles(n int, cycle func()) {
	samples, _ := regions(n, empty, cycle)
	reportMedian("cycle", samples)
}

func startOne(asked request) {
	reportCycles(asked.n, func() {
		created := newPool(asked.workers, 0)
		created.submit(one).get()
		created.drain()
	})
}

func startEight(asked request) {
	reportCycles(asked.n, func() {
		created := newPool(asked.workers, 0)
		created.meet()
		created.drain()
	})
}

// memory: what fanout uses, with a channel that has room for all.
func memory(asked request) {
	used := newPool(asked.workers, asked.n)
	release := used.hold()
	before := resident()
	handles := make([]*future, asked.n)
	for index := range handles {
		argument := int64(index)
		handles[index] = used.submit(func() int64 { return argument })
	}
	report("bytes", "bytes", float64(resident()-before)/float64(asked.n))
	release()
	for _, handle := range handles {
		handle.get()
	}
}

// reportCPU tells the CPU time for five seconds, however many milliseconds there were.
func reportCPU(took section, milliseconds int) {
	report("cpu", "ms", microseconds(took.cpu)/1000*5000/float64(milliseconds))
}

func idle(asked request) {
	warmPool(asked.workers)
	took := timed(func() { time.Sleep(time.Duration(asked.n) * time.Millisecond) })
	reportCPU(took, asked.n)
}

func trickle(asked request) {
	used := warmPool(asked.workers)
	samples := make([]time.Duration, asked.n)
	took := timed(func() {
		submitEachMillisecond(used, samples)
		used.drain()
	})
	reportCPU(took, asked.n)
	report("mean", "ns", mean(samples))
	reportPercentiles("", "ns", time.Nanosecond, samples)
}

// submitEachMillisecond pauses by time.Sleep: a system call that blocks would take a processor from Go, and costs twice
// the CPU time.
func submitEachMillisecond(used *pool, samples []time.Duration) {
	start := now()
	for index := range samples {
		sample := &samples[index]
		time.Sleep(start + time.Duration(index+1)*time.Millisecond - now())
		submitted := now()
		used.jobs <- func() { *sample = now() - submitted }
	}
}
