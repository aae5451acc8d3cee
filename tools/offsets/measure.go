// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// measurer builds programs and keeps what it read from them, so that a type or member that is asked for later costs no
// build.
type measurer struct {
	cache         string
	built, reused int
}

// measurement is what one build showed.
type measurement struct {
	Layouts  layouts
	Declared map[string]bool // of wanted types that are not linked: whether the version declares them
}

// measure returns the layouts of one version, built by `toolchain` (of std: by the release itself).
func (m *measurer) measure(s *spec, v version, toolchain string) (*measurement, error) {
	if s.name == "std" {
		toolchain = "go" + v.text
	}
	source, err := s.source()
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(source)))[:16]
	path := filepath.Join(m.cache, s.name, fmt.Sprintf("%s_%s_%s.json.gz", v.text, toolchain, key))
	if known, err := readMeasurement(path); err == nil && known.answers(s.types) {
		m.reused++
		return known, nil
	}
	scratch, err := os.MkdirTemp("", "offsets")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	program, err := s.build(v, toolchain, scratch)
	if err != nil {
		return nil, err
	}
	result := &measurement{Declared: map[string]bool{}}
	if result.Layouts, err = readLayouts(program); err != nil {
		return nil, err
	}
	for _, t := range s.types {
		if _, linked := result.Layouts[t.symbol()]; linked {
			continue
		}
		if result.Declared[t.symbol()], err = declares(scratch, toolchain, t); err != nil {
			return nil, err
		}
	}
	m.built++
	log.Printf("measured %s %s by %s", s.module, v.text, toolchain)
	return result, result.write(path)
}

// source returns what decides on the program, for the key of the cache.
func (s *spec) source() (string, error) {
	paths, err := filepath.Glob(filepath.Join(s.folder, "*.go"))
	if err != nil {
		return "", err
	}
	var source strings.Builder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		source.Write(text)
	}
	return source.String(), nil
}

// build copies the program to `scratch` and builds it there with the module at one version.
func (s *spec) build(v version, toolchain, scratch string) (string, error) {
	if err := os.CopyFS(scratch, os.DirFS(s.folder)); err != nil {
		return "", err
	}
	mod := "module example.com/offsets\n\ngo 1.19\n"
	if s.name != "std" {
		mod = fmt.Sprintf("module example.com/offsets\n\ngo %s\n\nrequire %s %s\n",
			strings.TrimPrefix(toolchain, "go"), s.module, v.text)
	}
	if err := os.WriteFile(filepath.Join(scratch, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	for _, module := range s.newest {
		if _, err := goCommand(scratch, toolchain, "get", module+"@latest").output(); err != nil {
			return "", err
		}
	}
	program := filepath.Join(scratch, "program")
	_, err := goCommand(scratch, toolchain, "build", "-mod=mod", "-p=2", "-ldflags=-compressdwarf=false", "-o", program,
		".").output()
	return program, err
}

// declares tells a type that a version lacks from one that the program does not use.
func declares(folder, toolchain string, t structType) (bool, error) {
	files, err := goCommand(folder, toolchain, "list", "-mod=mod", "-e", "-f",
		`{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, t.pkg).output()
	if err != nil {
		return false, nil // a package that this version lacks
	}
	pattern := regexp.MustCompile(`(?m)^(type |\t)` + regexp.QuoteMeta(t.name) + ` struct`)
	for _, file := range strings.Fields(string(files)) {
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

// answers tells whether the build showed something of every type: one may have been added to structs.txt since.
func (m *measurement) answers(types []structType) bool {
	for _, t := range types {
		_, linked := m.Layouts[t.symbol()]
		if _, looked := m.Declared[t.symbol()]; !linked && !looked {
			return false
		}
	}
	return true
}

func readMeasurement(path string) (*measurement, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	result := &measurement{}
	return result, json.NewDecoder(unpacked).Decode(result)
}

// write makes the file appear whole.
func (m *measurement) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "new")
	if err != nil {
		return err
	}
	packed := gzip.NewWriter(file)
	err = json.NewEncoder(packed).Encode(m)
	for _, finish := range []func() error{packed.Close, file.Close} {
		if failed := finish(); err == nil {
			err = failed
		}
	}
	if err != nil {
		os.Remove(file.Name())
		return err
	}
	return os.Rename(file.Name(), path)
}

// values returns, per type and member ("" for the size), what the table says of one version.
func (s *spec) values(m *measurement) (map[string]map[string]int, error) {
	result := map[string]map[string]int{}
	for _, t := range s.types {
		values := map[string]int{}
		result[t.symbol()] = values
		if m.Declared[t.symbol()] {
			return nil, fmt.Errorf("%s is declared but not linked: use it in %s", t.symbol(), s.folder)
		}
		for _, member := range t.members {
			value, err := m.Layouts.valueOf(t.symbol(), member)
			if err != nil {
				return nil, err
			}
			if value >= unstable && value != absent {
				return nil, fmt.Errorf("%s.%s: %d does not fit the table", t.symbol(), member, value)
			}
			values[member] = value
		}
	}
	return result, nil
}
