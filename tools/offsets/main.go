// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Command offsets measures struct layouts in the DWARF of real builds and writes them as constexpr C++ headers.
//
//	offsets [-o FOLDER] [-modules FOLDER] [-cache FOLDER] [-quick] [NAME...]
//
// Each folder below -modules has a structs.txt, which says what to measure, and a program that uses those types.
package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	log.SetFlags(0)
	output := flag.String("o", ".", "folder of the headers to write")
	folder := flag.String("modules", "modules", "folder with one folder per module")
	cache := flag.String("cache", defaultCache(), "folder that keeps what was measured")
	quick := flag.Bool("quick", false, "bisect all releases of a module at once, instead of those of each minor")
	flag.Parse()

	specs, err := readSpecs(*folder)
	check(err)
	check(os.MkdirAll(filepath.Join(*output, "offset_tables"), 0o755))
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(specs, func(s *spec) bool { return s.name == name }) {
			log.Fatalf("there is no %s", filepath.Join(*folder, name))
		}
	}
	measurer := &measurer{cache: *cache}
	std := specs[0] // what others embed of it must not depend on the Go release
	var failures []string
	for _, s := range specs {
		wanted := flag.NArg() == 0 || slices.Contains(flag.Args(), s.name)
		if !wanted && s != std {
			continue
		}
		for i := range s.tables {
			t := &s.tables[i]
			check(t.fill(s, measurer, *quick && s != std))
			failures = append(failures, t.failures...)
		}
		check(s.checkEmbedded(std))
		if wanted {
			check(os.WriteFile(filepath.Join(*output, "offset_tables", s.headerName()), s.header(), 0o644))
		}
	}
	if flag.NArg() == 0 {
		check(os.WriteFile(filepath.Join(*output, "offset_table.hpp"), indexHeader(specs), 0o644))
	}
	for _, failure := range failures {
		log.Print("not measured: ", failure)
	}
	log.Printf("%d builds, %d layouts from %s", measurer.built, measurer.reused, *cache)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func defaultCache() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		folder = os.TempDir()
	}
	return filepath.Join(folder, "otel_ebpf", "offsets")
}
