// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"slices"
	"strings"
)

// checkEmbedded looks at what a module's structs embed of the standard library and of other modules by value: the
// places behind it depend on versions that the table does not know. Of the standard library, what had one size in all
// releases does no harm; places behind anything else become unstable. Of other modules, structs.txt names the harmless.
func (s *spec) checkEmbedded(std *spec) error {
	if s == std {
		return nil
	}
	for i := range s.tables {
		for j := range s.tables[i].rows {
			r := &s.tables[i].rows[j]
			if r.measured == nil {
				continue
			}
			for _, t := range s.types {
				for member, value := range r.values[t.symbol()] {
					if value == absent {
						continue
					}
					end := value
					if member == "" {
						end = absent
					}
					var problem error
					r.measured.Layouts.embeddedBefore(t.symbol(), end, s.owns, func(symbol string) {
						stable, err := s.isStable(std, symbol)
						if err != nil && problem == nil {
							problem = fmt.Errorf("%s %s: %s: %w", s.module, r.version.text, t.symbol(), err)
						}
						if !stable {
							r.values[t.symbol()][member] = unstable
						}
					})
					if problem != nil {
						return problem
					}
				}
			}
		}
	}
	return nil
}

// isStable tells whether a type of another module has one size in all versions.
func (s *spec) isStable(std *spec, symbol string) (bool, error) {
	if slices.Contains(s.embedded, symbol) {
		return true, nil
	}
	if first, _, _ := strings.Cut(symbol, "/"); strings.Contains(first, ".") && strings.Contains(symbol, "/") {
		return false, fmt.Errorf("embeds %s of another module: name it in @embeds, if its size never changed", symbol)
	}
	at := slices.IndexFunc(std.types, func(t structType) bool { return t.symbol() == symbol })
	if at < 0 {
		return false, fmt.Errorf("embeds %s: list it in the structs.txt of std", symbol)
	}
	size := absent
	for i := range std.tables[0].rows {
		value := std.tables[0].rows[i].value(std.types[at], "")
		if size != absent && value != size {
			return false, nil
		}
		size = value
	}
	return true, nil
}
