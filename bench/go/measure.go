// SPDX-License-Identifier: MIT

// Clocks, calibrated work, figures of the process, and printing.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// ---- time ----

var epoch = time.Now()

// now reads only the monotonic clock, which time.Now does not.
func now() time.Duration { return time.Since(epoch) }

// cpu is the CPU time of all threads of this process.
func cpu() time.Duration {
	const clockProcessCPUTime = 2
	var at syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockProcessCPUTime, uintptr(unsafe.Pointer(&at)), 0)
	return time.Duration(at.Nano())
}

// section is one timed section, or the sum of several.
type section struct{ wall, cpu time.Duration }

func timed(body func()) section {
	cpuBefore, before := cpu(), now()
	body()
	wall := now() - before
	return section{wall, cpu() - cpuBefore}
}

// ---- results ----

func report(metric, unit string, value float64) {
	fmt.Printf("%s\t%s\t%.6g\n", metric, unit, value)
}

// reportPer prints a section's wall and CPU time per operation, in the unit of which one is `scale`.
func reportPer(metric, unit string, scale time.Duration, measured section, operations int) {
	share := 1 / (float64(scale) * float64(operations))
	report(metric, unit, float64(measured.wall)*share)
	report(metric+"-cpu", unit, float64(measured.cpu)*share)
}

func ascending(samples []time.Duration) []time.Duration {
	sorted := append([]time.Duration(nil), samples...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	return sorted
}

// quantile of samples in ascending order.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)-1)*percent/100]
}

func mean(samples []time.Duration) float64 {
	total := time.Duration(0)
	for _, sample := range samples {
		total += sample
	}
	return float64(total) / float64(len(samples))
}

// reportPercentiles prints p50 and p99 in the unit of which one is `scale`.
func reportPercentiles(prefix, unit string, scale time.Duration, samples []time.Duration) {
	sorted := ascending(samples)
	report(prefix+"p50", unit, float64(quantile(sorted, 50))/float64(scale))
	report(prefix+"p99", unit, float64(quantile(sorted, 99))/float64(scale))
}

// ---- work of a known length: arithmetic that depends on itself, no clock ----

//go:noinline
func spin(rounds int) uint64 {
	state := uint64(rounds)
	for ; rounds > 0; rounds-- {
		state = state*6364136223846793005 + 1442695040888963407
	}
	return state
}

// roundsPerMicrosecond: of many short runs the fastest.
func roundsPerMicrosecond() float64 {
	const rounds, attempts = 100_000, 100
	best := time.Hour
	for attempt := 0; attempt < attempts; attempt++ {
		if took := timed(func() { spin(rounds) }).wall; took < best {
			best = took
		}
	}
	return rounds * float64(time.Microsecond) / float64(best)
}

// ---- the process ----

// resident is the memory of this process in bytes.
func resident() int {
	text, err := os.ReadFile("/proc/self/statm")
	var size, pages int
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &pages)
	}
	if err != nil {
		fail(1, err.Error())
	}
	return pages * os.Getpagesize()
}

type cpuMask [16]uint64

// oneCPU is a mask of only the first CPU that this process may use.
func oneCPU() cpuMask {
	var usable, one cpuMask
	syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(usable), uintptr(unsafe.Pointer(&usable)))
	for word, bits := range usable {
		if bits != 0 {
			one[word] = bits & -bits
			break
		}
	}
	return one
}

func setAffinity(thread int, mask *cpuMask) {
	address := uintptr(unsafe.Pointer(mask))
	syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(thread), unsafe.Sizeof(*mask), address)
}

// pinAll moves every thread there is onto the CPUs of the mask; later ones inherit it.
func pinAll(mask cpuMask) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		fail(1, err.Error())
	}
	for _, task := range tasks {
		thread, _ := strconv.Atoi(task.Name())
		setAffinity(thread, &mask)
	}
}
