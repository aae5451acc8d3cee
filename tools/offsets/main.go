// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Command offsets measures struct layouts in the DWARF of real builds and writes them as one constexpr C++ header.
package main

import (
	"bufio"
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// absent marks a type or member that a release does not declare; go/offsets.hpp uses the same number.
const absent = 0xffff

type structType struct {
	pkg, name string
	members   []string
}

func (s structType) symbol() string { return s.pkg + "." + s.name }

// layout holds, per "PACKAGE.TYPE" and member ("" for the size), the value in one release.
type layout map[string]map[string]int

// release is a release of Go 1.
type release struct{ minor, patch int }

func (r release) String() string {
	if r.patch == 0 && r.minor < 21 { // Go 1.21 was the first to call its first release ".0"
		return fmt.Sprintf("1.%d", r.minor)
	}
	return fmt.Sprintf("1.%d.%d", r.minor, r.patch)
}

func main() {
	log.SetFlags(0)
	output := flag.String("o", "offset_table.hpp", "header to write")
	folder := flag.String("std", "std", "folder with structs.txt, releases.txt and the program to build")
	flag.Parse()

	types, err := readStructs(filepath.Join(*folder, "structs.txt"))
	check(err)
	minors, err := readMinors(filepath.Join(*folder, "releases.txt"))
	check(err)
	scratch, err := os.MkdirTemp("", "offsets")
	check(err)
	defer os.RemoveAll(scratch)

	table := map[release]layout{}
	measure := func(r release) layout {
		if table[r] == nil {
			table[r], err = measureStd(*folder, r, filepath.Join(scratch, "program"), types)
			if err != nil {
				os.RemoveAll(scratch)
				log.Fatalf("Go %s: %v", r, err)
			}
			log.Printf("measured Go %s", r)
		}
		return table[r]
	}
	for _, patches := range minors {
		bisect(patches, measure)
	}
	check(os.WriteFile(*output, header(table, types), 0o644))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// readLines returns the lines that are neither empty nor comments.
func readLines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if line := strings.TrimSpace(scanner.Text()); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// readMinors returns the releases of each minor, ascending.
func readMinors(path string) ([][]release, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var minors [][]release
	for _, line := range lines {
		words := strings.Fields(line)
		var patches []release
		for _, word := range words[1:] {
			var r release
			if _, err := fmt.Sscanf(words[0]+" "+word, "1.%d %d", &r.minor, &r.patch); err != nil {
				return nil, fmt.Errorf("%s: want \"MINOR PATCH...\", got %q", path, line)
			}
			patches = append(patches, r)
		}
		minors = append(minors, patches)
	}
	return minors, nil
}

// bisect measures the first and the last release and goes on between them while they differ, so that neighbours in the
// table either agree or have no release between them.
func bisect(releases []release, measure func(release) layout) {
	last := len(releases) - 1
	if reflect.DeepEqual(measure(releases[0]), measure(releases[last])) || last < 2 {
		return
	}
	bisect(releases[:last/2+1], measure)
	bisect(releases[last/2:], measure)
}

// readStructs returns the types in the order of the table: by package, then by name, members sorted.
func readStructs(path string) ([]structType, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var types []structType
	for _, line := range lines {
		head, tail, ok := strings.Cut(line, ":")
		words := strings.Fields(head)
		if !ok || len(words) != 2 {
			return nil, fmt.Errorf("%s: want \"PACKAGE TYPE: MEMBER...\", got %q", path, line)
		}
		members := strings.Fields(tail)
		sort.Strings(members)
		types = append(types, structType{words[0], words[1], members})
	}
	sort.Slice(types, func(i, j int) bool {
		if types[i].pkg != types[j].pkg {
			return types[i].pkg < types[j].pkg
		}
		return types[i].name < types[j].name
	})
	return types, nil
}

// measureStd builds the program in folder with one Go release and reads the layouts from its DWARF.
func measureStd(folder string, r release, program string, types []structType) (layout, error) {
	if _, err := goTool(folder, r, "build", "-o", program, "."); err != nil {
		return nil, err
	}
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		return nil, err
	}
	found, err := structTypes(data, types)
	if err != nil {
		return nil, err
	}
	result := layout{}
	for _, wanted := range types {
		values := map[string]int{}
		result[wanted.symbol()] = values
		measured := found[wanted.symbol()]
		if measured == nil {
			declared, err := declares(folder, r, wanted.pkg, wanted.name)
			if err != nil {
				return nil, err
			}
			if declared {
				return nil, fmt.Errorf("%s is declared but not linked: use it in %s", wanted.symbol(), folder)
			}
			values[""] = absent
		} else {
			values[""] = int(measured.ByteSize)
		}
		for _, member := range wanted.members {
			values[member], err = offsetOf(measured, member)
			if err != nil {
				return nil, fmt.Errorf("%s.%s: %w", wanted.symbol(), member, err)
			}
		}
		for member, value := range values {
			if value > absent {
				return nil, fmt.Errorf("%s.%s: %d does not fit the table", wanted.symbol(), member, value)
			}
		}
	}
	return result, nil
}

func goTool(folder string, r release, arguments ...string) (string, error) {
	command := exec.Command("go", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOTOOLCHAIN=go"+r.String(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0",
		"GOWORK=off", "GOEXPERIMENT=")
	var messages bytes.Buffer
	command.Stderr = &messages
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(arguments, " "), err, messages.String())
	}
	return strings.TrimSpace(string(output)), nil
}

func structTypes(data *dwarf.Data, types []structType) (map[string]*dwarf.StructType, error) {
	wanted := map[string]bool{}
	for _, t := range types {
		wanted[t.symbol()] = true
	}
	found := map[string]*dwarf.StructType{}
	reader := data.Reader()
	for {
		entry, err := reader.Next()
		if err != nil {
			return nil, err
		}
		if entry == nil {
			return found, nil
		}
		if entry.Tag == dwarf.TagSubprogram {
			reader.SkipChildren()
			continue
		}
		name, _ := entry.Val(dwarf.AttrName).(string)
		if entry.Tag != dwarf.TagStructType || !wanted[name] {
			continue
		}
		t, err := data.Type(entry.Offset)
		if err != nil {
			return nil, err
		}
		found[name] = t.(*dwarf.StructType)
	}
}

// offsetOf adds up the offsets along a dotted path of embedded structs.
func offsetOf(t *dwarf.StructType, path string) (int, error) {
	if t == nil {
		return absent, nil
	}
	name, rest, nested := strings.Cut(path, ".")
	for _, field := range t.Field {
		if field.Name != name {
			continue
		}
		if !nested {
			return int(field.ByteOffset), nil
		}
		inner, ok := underlying(field.Type).(*dwarf.StructType)
		if !ok {
			return 0, fmt.Errorf("%s is a %s, not an embedded struct", name, field.Type)
		}
		offset, err := offsetOf(inner, rest)
		if err != nil || offset == absent {
			return offset, err
		}
		return int(field.ByteOffset) + offset, nil
	}
	return absent, nil
}

func underlying(t dwarf.Type) dwarf.Type {
	for {
		alias, ok := t.(*dwarf.TypedefType)
		if !ok {
			return t
		}
		t = alias.Type
	}
}

// declares tells a type that a release lacks from one that the program does not use.
func declares(folder string, r release, pkg, name string) (bool, error) {
	files, err := goTool(folder, r, "list", "-e", "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, pkg)
	if err != nil {
		return false, err
	}
	pattern := regexp.MustCompile(`(?m)^(type |\t)` + regexp.QuoteMeta(name) + ` struct`)
	for _, file := range strings.Fields(files) {
		text, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if pattern.Match(text) {
			return true, nil
		}
	}
	return false, nil
}

// header merges equal values of neighbouring releases and formats the table.
func header(table map[release]layout, types []structType) []byte {
	var releases []release
	for r := range table {
		releases = append(releases, r)
	}
	sort.Slice(releases, func(i, j int) bool {
		a, b := releases[i], releases[j]
		return a.minor < b.minor || (a.minor == b.minor && a.patch < b.patch)
	})
	var entries, runs bytes.Buffer
	count := 0
	for _, t := range types {
		for _, member := range append([]string{""}, t.members...) {
			first := count
			previous := -1
			for i, r := range releases {
				value := table[r][t.symbol()][member]
				if value == previous {
					continue
				}
				fmt.Fprintf(&runs, "    {%d, %s},\n", i, valueText(value))
				previous = value
				count++
			}
			fmt.Fprintf(&entries, "    {%q, %q, %q, %d, %d},\n", t.pkg, t.name, member, first, count-first)
		}
	}
	var out bytes.Buffer
	out.WriteString(`// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors
// Measured struct layouts (amd64). Generated by tools/offsets/generate.sh: do not edit.
// clang-format off
#pragma once

#include <array>

#include <otel_ebpf/go/offsets.hpp>

namespace otel_ebpf::go {

namespace detail {

`)
	fmt.Fprintf(&out, "inline constexpr std::array<Version, %d> std_releases = {{\n", len(releases))
	for _, r := range releases {
		fmt.Fprintf(&out, "    {1, %d, %d},\n", r.minor, r.patch)
	}
	fmt.Fprintf(&out, "}};\n\n// {index of the first release, value}\ninline constexpr std::array<OffsetRun, %d> std_runs = {{\n", count)
	out.Write(runs.Bytes())
	fmt.Fprintf(&out, "}};\n\n// {package, type, member (empty: size of the type), first run, number of runs}\n"+
		"inline constexpr std::array<OffsetEntry, %d> std_entries = {{\n", strings.Count(entries.String(), "\n"))
	out.Write(entries.Bytes())
	out.WriteString(`}};

}  // namespace detail

inline constexpr std::array<OffsetModule, 1> offset_modules = {{
    {"std", detail::std_releases, detail::std_runs, detail::std_entries},
}};

}  // namespace otel_ebpf::go
`)
	return out.Bytes()
}

func valueText(value int) string {
	if value == absent {
		return "absent_offset"
	}
	return strconv.Itoa(value)
}
