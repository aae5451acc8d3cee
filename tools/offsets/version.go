// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a release: of Go, of a module, or, by its date, of a module that has no tags.
type version struct {
	major, minor, patch int
	text                string // "1.20", "v1.60.0", "v0.0.0-20240102030405-0123456789ab"
}

var (
	releasePattern = regexp.MustCompile(`^v?(\d+)\.(\d+)(?:\.(\d+))?$`)
	pseudoPattern  = regexp.MustCompile(`^v0\.0\.0-(\d{4})(\d{4})(\d{6})-[0-9a-f]{12}$`)
)

// parseVersion refuses pre-releases, and pseudo-versions of modules that have releases. One by date has the year as its
// major, month and day as its minor, and the time of day as its patch, as in go/offsets.hpp.
func parseVersion(text string) (version, bool) {
	parts := releasePattern.FindStringSubmatch(text)
	if parts == nil {
		parts = pseudoPattern.FindStringSubmatch(text)
	}
	if parts == nil {
		return version{}, false
	}
	number := func(digits string) int {
		value, _ := strconv.Atoi(digits) // digits only, or empty
		return value
	}
	return version{number(parts[1]), number(parts[2]), number(parts[3]), text}, true
}

func compareVersions(a, b version) int {
	return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.minor, b.minor), cmp.Compare(a.patch, b.patch))
}

func (v version) sameMinor(other version) bool {
	return v.major == other.major && v.minor == other.minor
}

// findVersions asks the module proxy: of std for toolchains, else for what is neither a pre-release nor retracted.
func (s *spec) findVersions() ([]version, error) {
	var versions []version
	var err error
	switch {
	case s.name == "std":
		versions, err = toolchains()
	case s.from != "":
		versions, err = versionsRequired(s.module, s.from)
	default:
		versions, err = taggedVersions(s.module)
	}
	if err != nil {
		return nil, err
	}
	versions = append(versions, s.also...)
	slices.SortFunc(versions, compareVersions)
	versions = slices.CompactFunc(versions, func(a, b version) bool { return compareVersions(a, b) == 0 })
	versions = slices.DeleteFunc(versions, func(v version) bool {
		return compareVersions(v, s.oldest) < 0 || (s.before != nil && compareVersions(v, *s.before) >= 0)
	})
	if len(versions) == 0 {
		return nil, fmt.Errorf("the module proxy serves no version of %s from %s on", s.module, s.oldest.text)
	}
	return versions, nil
}

func listVersions(module string) ([]string, error) {
	output, err := goCommand("", usualToolchain, "list", "-m", "-json", "-versions", module).output()
	if err != nil {
		return nil, err
	}
	var answer struct{ Versions []string }
	return answer.Versions, json.Unmarshal(output, &answer)
}

func taggedVersions(module string) ([]version, error) {
	texts, err := listVersions(module)
	var versions []version
	for _, text := range texts {
		if v, ok := parseVersion(text); ok {
			versions = append(versions, v)
		}
	}
	return versions, err
}

// toolchains adds the first release of each minor: the proxy serves some that it does not list.
func toolchains() ([]version, error) {
	texts, err := listVersions("golang.org/toolchain")
	var versions []version
	for _, text := range texts { // v0.0.1-go1.21.0.linux-amd64
		release, ok := strings.CutSuffix(strings.TrimPrefix(text, "v0.0.1-go"), ".linux-amd64")
		if v, isRelease := parseVersion(release); ok && isRelease {
			first := version{v.major, v.minor, 0, fmt.Sprintf("%d.%d.0", v.major, v.minor)}
			if first.minor < 21 { // Go 1.21 was the first to call its first release ".0"
				first.text = strings.TrimSuffix(first.text, ".0")
			}
			versions = append(versions, first, v)
		}
	}
	return versions, err
}

// versionsRequired returns the versions of a module without tags that the releases of another require.
func versionsRequired(module, by string) ([]version, error) {
	releases, err := taggedVersions(by)
	if err != nil {
		return nil, err
	}
	arguments := []string{"list", "-m", "-json"}
	for _, release := range releases {
		arguments = append(arguments, by+"@"+release.text)
	}
	output, err := goCommand("", usualToolchain, arguments...).output()
	if err != nil {
		return nil, err
	}
	var versions []version
	for decoder := json.NewDecoder(strings.NewReader(string(output))); decoder.More(); {
		var release struct{ GoMod string }
		if err := decoder.Decode(&release); err != nil {
			return nil, err
		}
		required, err := requirement(release.GoMod, module)
		if err != nil {
			return nil, err
		}
		if v, ok := parseVersion(required); ok {
			versions = append(versions, v)
		}
	}
	return versions, nil
}

// requirement returns the version of `module` that a go.mod file requires, or "".
func requirement(path, module string) (string, error) {
	command := exec.Command("go", "mod", "edit", "-json", filepath.Clean(path))
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go mod edit %s: %w", path, err)
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(output, &file); err != nil {
		return "", err
	}
	for _, required := range file.Require {
		if required.Path == module {
			return required.Version, nil
		}
	}
	return "", nil
}
