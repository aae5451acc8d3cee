// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"log"
	"reflect"
	"slices"
	"strings"
)

// table holds the layouts of a module's versions, for a range of Go releases.
type table struct {
	toolchain       string
	goFrom, goBelow *version
	rows            []row
	failures        []string
}

type row struct {
	version  version
	values   map[string]map[string]int
	measured *measurement // nil: inferred, the neighbours that were measured agree
}

// fill gives every version its row. A version that can't be built is left out, and reported.
func (t *table) fill(s *spec, m *measurer, quick bool) error {
	versions, err := s.findVersions()
	if err != nil {
		return err
	}
	for first := 0; first < len(versions); {
		next := first + 1
		for next < len(versions) && (quick || s.from != "" || versions[next].sameMinor(versions[first])) {
			next++
		}
		rows := make([]row, next-first)
		for i := range rows {
			rows[i].version = versions[first+i]
		}
		t.rows = append(t.rows, t.bisect(s, m, rows)...)
		first = next
	}
	if len(t.rows) == 0 {
		return fmt.Errorf("%s: no version could be measured: %s", s.module, strings.Join(t.failures, "\n"))
	}
	return nil
}

// bisect measures the first and the last version and goes on between them while they differ, so that neighbours either
// agree or have no version between them. It returns the rows without those that can't be measured.
func (t *table) bisect(s *spec, m *measurer, rows []row) []row {
	for len(rows) > 0 && !t.measure(s, m, &rows[0]) {
		rows = rows[1:]
	}
	for len(rows) > 1 && !t.measure(s, m, &rows[len(rows)-1]) {
		rows = rows[:len(rows)-1]
	}
	if len(rows) < 3 {
		return rows
	}
	if reflect.DeepEqual(rows[0].values, rows[len(rows)-1].values) {
		for i := range rows {
			rows[i].values = rows[0].values
		}
		return rows
	}
	middle := len(rows) / 2
	if !t.measure(s, m, &rows[middle]) {
		return t.bisect(s, m, slices.Delete(slices.Clone(rows), middle, middle+1))
	}
	left := t.bisect(s, m, slices.Clone(rows[:middle+1]))
	right := t.bisect(s, m, slices.Clone(rows[middle:]))
	return append(left, right[1:]...)
}

// measure fills a row, unless it is; false when the version can't be built. A mistake in structs.txt ends the program.
func (t *table) measure(s *spec, m *measurer, r *row) bool {
	if r.measured != nil {
		return true
	}
	measured, err := m.measure(s, r.version, t.toolchain)
	if err == nil {
		if r.values, err = s.values(measured); err != nil {
			log.Fatalf("%s %s: %v", s.module, r.version.text, err)
		}
	}
	if err != nil {
		t.failures = append(t.failures, fmt.Sprintf("%s %s: %v", s.module, r.version.text, err))
		return false
	}
	r.measured = measured
	return true
}

// value is what the table says of a type's member, or of its size, in one row.
func (r *row) value(t structType, member string) int { return r.values[t.symbol()][member] }
