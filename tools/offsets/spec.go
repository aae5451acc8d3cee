// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

type structType struct {
	pkg, name string
	members   []string // "" is the size of the type
}

func (s structType) symbol() string { return s.pkg + "." + s.name }

// spec is what a folder's structs.txt says, and what was measured after it.
type spec struct {
	name     string // of the folder
	folder   string
	module   string
	oldest   version   // older ones are left out
	before   *version  // this one and newer ones are left out
	from     string    // the module whose releases name the versions, where this one has no tags
	also     []version // that the proxy serves, but does not list
	newest   []string  // dependencies that are taken at their newest version, so that builds share them
	embedded []string  // types of other modules that are embedded by value, and have always had one size
	types    []structType
	tables   []table // one per range of Go releases
}

// A module is built by one toolchain: what it embeds of the standard library is checked to have one size in all.
const usualToolchain = "go1.26.8"

// readSpecs returns those of all folders, std first.
func readSpecs(folder string) ([]*spec, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var specs []*spec
	for _, entry := range entries {
		s := &spec{name: entry.Name(), folder: filepath.Join(folder, entry.Name())}
		if err := s.read(filepath.Join(s.folder, "structs.txt")); err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	sort.SliceStable(specs, func(i, j int) bool { return specs[i].name == "std" && specs[j].name != "std" })
	return specs, nil
}

// read parses lines "@DIRECTIVE ARGUMENT..." and "PACKAGE TYPE: MEMBER...".
func (s *spec) read(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if directive, ok := strings.CutPrefix(line, "@"); ok {
			err = s.readDirective(strings.Fields(directive))
		} else {
			err = s.readType(line)
		}
		if err != nil {
			return fmt.Errorf("%s: %q: %w", path, line, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	if s.module == "" {
		return fmt.Errorf("%s: no @module", path)
	}
	if len(s.tables) == 0 {
		s.tables = []table{{toolchain: usualToolchain}}
	}
	sort.Slice(s.types, func(i, j int) bool {
		if s.types[i].pkg != s.types[j].pkg {
			return s.types[i].pkg < s.types[j].pkg
		}
		return s.types[i].name < s.types[j].name
	})
	return nil
}

func (s *spec) readDirective(words []string) error {
	arguments := words[1:]
	if len(arguments) == 0 {
		return fmt.Errorf("an argument is missing")
	}
	switch words[0] {
	case "module":
		s.module = arguments[0]
	case "oldest":
		var ok bool
		if s.oldest, ok = parseVersion(arguments[0]); !ok {
			return fmt.Errorf("not a version")
		}
	case "before":
		v, ok := parseVersion(arguments[0])
		if !ok {
			return fmt.Errorf("not a version")
		}
		s.before = &v
	case "also":
		for _, text := range arguments {
			v, ok := parseVersion(text)
			if !ok {
				return fmt.Errorf("%s is not a version", text)
			}
			s.also = append(s.also, v)
		}
	case "versions_from":
		s.from = arguments[0]
	case "newest":
		s.newest = append(s.newest, arguments...)
	case "embeds":
		s.embedded = append(s.embedded, arguments...)
	case "toolchain": // TOOLCHAIN [from GO] [below GO]
		t := table{toolchain: arguments[0]}
		for rest := arguments[1:]; len(rest) > 1; rest = rest[2:] {
			bound, ok := parseVersion(rest[1])
			switch {
			case ok && rest[0] == "from":
				t.goFrom = &bound
			case ok && rest[0] == "below":
				t.goBelow = &bound
			default:
				return fmt.Errorf("want \"from GO\" or \"below GO\"")
			}
		}
		s.tables = append(s.tables, t)
	default:
		return fmt.Errorf("unknown directive")
	}
	return nil
}

func (s *spec) readType(line string) error {
	head, tail, ok := strings.Cut(line, ":")
	words := strings.Fields(head)
	hasSize := len(words) == 2
	if !ok || (!hasSize && (len(words) != 4 || words[2] != "without" || words[3] != "size")) {
		return fmt.Errorf("want \"PACKAGE TYPE [without size]: MEMBER...\"")
	}
	members := strings.Fields(tail)
	if hasSize {
		members = append(members, "")
	}
	sort.Strings(members)
	s.types = append(s.types, structType{words[0], words[1], members})
	return nil
}

// owns tells a type of this module from what it embeds of others.
func (s *spec) owns(symbol string) bool {
	return strings.HasPrefix(symbol, s.module+"/") || strings.HasPrefix(symbol, s.module+".")
}
