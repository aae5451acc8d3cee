// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

// Where the truck that carries pianos has to stop, in blocks from the store.
var stops = [10][2]int{{3, 7}, {12, 1}, {5, 5}, {9, 14}, {1, 11}, {8, 2}, {15, 6}, {4, 13}, {11, 9}, {2, 3}}

// shortestTour tries every order of the stops: about 50 ms of CPU, which a profile of the store shows.
func shortestTour() int {
	order := stops
	var turns [len(stops)]int // Heap's algorithm without recursion
	shortest := tourLength(&order)
	for i := 1; i < len(order); {
		if turns[i] == i {
			turns[i] = 0
			i++
			continue
		}
		other := 0
		if i%2 == 1 {
			other = turns[i]
		}
		order[i], order[other] = order[other], order[i]
		shortest = min(shortest, tourLength(&order))
		turns[i]++
		i = 1
	}
	return shortest
}

// From the store, along all stops, and back.
func tourLength(order *[len(stops)][2]int) int {
	length, x, y := 0, 0, 0
	for _, stop := range order {
		length += max(stop[0]-x, x-stop[0]) + max(stop[1]-y, y-stop[1])
		x, y = stop[0], stop[1]
	}
	return length + x + y
}
