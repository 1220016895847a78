// SPDX-License-Identifier: MIT

// bench-go measures Go's goroutines by the workloads of bench/: `bench-go version`, or `bench-go WORKLOAD WORKERS
// [N=…]`, which prints one sample as lines `metric<TAB>unit<TAB>value`; status 77 and a reason where Go has nothing of
// the kind.
//
// Build: go build -o bench-go bench/go/*.go
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// request is what one run is asked for.
type request struct {
	workers int // participants: GOMAXPROCS, and the goroutines of a pool
	n       int // size, as the workload understands it
}

type workload struct {
	measure func(request)
	n       int // the default size
	workers int // fixed by the workload, or 0
}

var workloads = map[string]workload{
	"fanout":          {fanout, 1_000_000, 0},
	"fanout-detached": {fanoutDetached, 1_000_000, 0},
	"fanout-bulk":     {fanoutBulk, 1_000_000, 0},
	"depth":           {depth, 1_000_000, 0},
	"producers":       {producers, 1_000_000, 0},
	"apply-hot":       {applyHot, 1_000_000, 0},
	"handoff-hot":     {handoffHot, 50_000, 0},
	"apply-cold":      {callCold, 5000, 0},
	"handoff-cold":    {callCold, 5000, 0},
	"map-cheap":       {mapCheap, 10_000_000, 0},
	"map-20us":        {map20us, 1000, 0},
	"map-small":       {mapSmall, 200, 0},
	"map-empty":       {mapEmpty, 1_000_000, 0},
	"map-2-long":      {map2Long, 20, 0},
	"spawn-then-work": {spawnThenWork, 200, 0},
	"nested":          {nested, 30, 0},
	"irregular":       {irregular, 2000, 0},
	"stream":          {stream, 1_000_000, 0},
	"blocking":        {blocking, 2000, 0},
	"start-1":         {startOne, 200, 8},
	"start-8":         {startEight, 200, 8},
	"memory":          {memory, 1_000_000, 0},
	"idle":            {idle, 5000, 8},
	"trickle":         {trickle, 5000, 0},
}

func fail(status int, reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(status)
}

// count reads a number such as 200 or 1e6, or ends the program.
func count(text string) int {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || number < 1 || number > 1e15 {
		fail(2, "not a count: "+text)
	}
	return int(number)
}

func parse(arguments []string) (workload, request) {
	if len(arguments) < 2 {
		fail(2, "usage: bench-go version | WORKLOAD WORKERS [N=COUNT]")
	}
	chosen, known := workloads[arguments[0]]
	if !known {
		fail(77, "no such workload for Go: "+arguments[0])
	}
	asked := request{workers: count(arguments[1]), n: chosen.n}
	if chosen.workers != 0 {
		asked.workers = chosen.workers
	}
	for _, option := range arguments[2:] {
		if !strings.HasPrefix(option, "N=") {
			fail(2, "unknown option: "+option)
		}
		asked.n = count(strings.TrimPrefix(option, "N="))
	}
	return chosen, asked
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println(runtime.Version())
		return
	}
	chosen, asked := parse(os.Args[1:])
	runtime.GOMAXPROCS(asked.workers)
	chosen.measure(asked)
}
