// SPDX-License-Identifier: MIT

// Go's natural ways to run jobs: a goroutine for each, or a pool of goroutines that range over a channel. Each workload
// takes the faster of the two that fits it and says which. The channel is bounded as is usual in Go: a full one holds
// the submitter up.
package main

import (
	"sync"
	"sync/atomic"
)

// ---- bodies: called by value or by name, never inlined ----

//go:noinline
func empty() {}

//go:noinline
func emptyIndex(int) {}

//go:noinline
func one() int64 { return 1 }

//go:noinline
func squareAndOne(number float64) float64 { return number*number + 1 }

// ---- a pool ----

type pool struct {
	jobs    chan func()
	workers int
	running sync.WaitGroup // counts the workers
}

// The capacity that made fan-out fastest, of none, 128, 1024, and as many as there are jobs.
const usualCapacity = 1024

func newPool(workers, capacity int) *pool {
	made := &pool{jobs: make(chan func(), capacity), workers: workers}
	made.running.Add(workers)
	for worker := 0; worker < workers; worker++ {
		go made.work()
	}
	return made
}

func (p *pool) work() {
	defer p.running.Done()
	for job := range p.jobs {
		job()
	}
}

// drain returns when all that was submitted has run. Closing is the way to say so: it costs no count for each job
// (38 ns each, not 46).
func (p *pool) drain() {
	close(p.jobs)
	p.running.Wait()
}

// hold returns when every worker waits in a job for `release` to be called.
func (p *pool) hold() (release func()) {
	gate := make(chan struct{})
	var held sync.WaitGroup
	held.Add(p.workers)
	for worker := 0; worker < p.workers; worker++ {
		p.jobs <- func() {
			held.Done()
			<-gate
		}
	}
	held.Wait()
	return func() { close(gate) }
}

// meet returns when all workers have met in a job of theirs: the pool is warm.
func (p *pool) meet() {
	var met, left sync.WaitGroup
	met.Add(p.workers)
	left.Add(p.workers)
	for worker := 0; worker < p.workers; worker++ {
		p.jobs <- func() {
			met.Done()
			met.Wait()
			left.Done()
		}
	}
	left.Wait()
}

func warmPool(workers int) *pool {
	made := newPool(workers, usualCapacity)
	made.meet()
	return made
}

// ---- a job's handle ----

// future: a WaitGroup is cheaper than a channel for each (100 ns a job, not 150).
type future struct {
	done   sync.WaitGroup
	result int64
}

func (p *pool) submit(body func() int64) *future {
	handle := &future{}
	handle.done.Add(1)
	p.jobs <- func() {
		handle.result = body()
		handle.done.Done()
	}
	return handle
}

func (f *future) get() int64 {
	f.done.Wait()
	return f.result
}

// ---- one job, waited for ----

// caller runs one job at a time in a goroutine of its own, which beats a pool here (280 ns, not 370). Which thread runs
// it is the runtime's affair: Go has no other notion of handing a job to another thread, so `apply` and `handoff` are
// the same.
type caller struct{ done chan struct{} }

func newCaller() *caller { return &caller{make(chan struct{})} }

func (c *caller) call(body func()) {
	go func() {
		body()
		c.done <- struct{}{}
	}()
	<-c.done
}

// ---- many items ----

// forEach: the caller and workers-1 goroutines claim index after index. A caller that only waits makes an empty map
// dearer (540 ns, not 430) and a small one cheaper by a twentieth.
func forEach(workers, n int, body func(int)) {
	var claimed int64
	var helpers sync.WaitGroup
	claim := func() {
		for index := int(atomic.AddInt64(&claimed, 1)); index <= n; index = int(atomic.AddInt64(&claimed, 1)) {
			body(index - 1)
		}
	}
	for helper := 1; helper < workers && helper < n; helper++ {
		helpers.Add(1)
		go func() {
			claim()
			helpers.Done()
		}()
	}
	claim()
	helpers.Wait()
}

// mapNumbers: cheap items are split by hand into ranges, a few for each worker.
func mapNumbers(workers int, body func(float64) float64, from, to []float64) {
	ranges := 8 * workers
	forEach(workers, ranges, func(index int) {
		first, end := index*len(from)/ranges, (index+1)*len(from)/ranges
		mapRange(body, from[first:end], to[first:end])
	})
}

//go:noinline
func mapRange(body func(float64) float64, from, to []float64) {
	for index, number := range from {
		to[index] = body(number)
	}
}

// ---- jobs that submit jobs ----

// fib: one of the two calls is a goroutine, waited for by a WaitGroup.
func fib(n int) int64 {
	if n < 2 {
		return int64(n)
	}
	var spawned sync.WaitGroup
	var left int64
	spawned.Add(1)
	go func() {
		left = fib(n - 1)
		spawned.Done()
	}()
	right := fib(n - 2)
	spawned.Wait()
	return left + right
}
