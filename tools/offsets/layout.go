// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"strings"
)

// absent marks a type or member that a version does not declare, unstable one whose place depends on the Go release;
// go/offsets.hpp uses the same numbers.
const (
	absent   = 0xffff
	unstable = 0xfffe
)

type field struct {
	Name   string
	Offset int
	Struct string `json:",omitempty"` // symbol of the struct that is embedded by value, or of the array's elements
}

type structLayout struct {
	Size   int
	Fields []field
}

// layouts holds every struct type of a program, by "PACKAGE.TYPE".
type layouts map[string]structLayout

func readLayouts(program string) (layouts, error) {
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		return nil, err
	}
	found := layouts{}
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
		if entry.Tag != dwarf.TagStructType {
			continue
		}
		t, err := data.Type(entry.Offset)
		if err != nil {
			return nil, err
		}
		s := t.(*dwarf.StructType)
		layout := structLayout{Size: int(s.ByteSize)}
		for _, member := range s.Field {
			layout.Fields = append(layout.Fields, field{member.Name, int(member.ByteOffset), structOf(member.Type)})
		}
		found[s.StructName] = layout
		if generic, _, ok := strings.Cut(s.StructName, "["); ok { // of atomic.Pointer, any instance will do
			found[generic] = layout
		}
	}
}

// structOf returns the symbol of a struct behind type names and arrays; "" for anything else.
func structOf(t dwarf.Type) string {
	for {
		switch actual := t.(type) {
		case *dwarf.TypedefType:
			t = actual.Type
		case *dwarf.ArrayType:
			t = actual.Type
		case *dwarf.StructType:
			return actual.StructName
		default:
			return ""
		}
	}
}

// valueOf returns the offset of a member, or the size for "".
func (l layouts) valueOf(symbol, member string) (int, error) {
	layout, linked := l[symbol]
	if member == "" && linked {
		return layout.Size, nil
	}
	return l.offsetOf(symbol, member)
}

// offsetOf adds up the offsets along a dotted path of embedded structs.
func (l layouts) offsetOf(symbol, path string) (int, error) {
	name, rest, nested := strings.Cut(path, ".")
	for _, member := range l[symbol].Fields {
		if member.Name != name {
			continue
		}
		if !nested {
			return member.Offset, nil
		}
		if _, ok := l[member.Struct]; !ok {
			return 0, fmt.Errorf("%s.%s is not an embedded struct", symbol, name)
		}
		offset, err := l.offsetOf(member.Struct, rest)
		if err != nil || offset == absent {
			return offset, err
		}
		return member.Offset + offset, nil
	}
	return absent, nil
}

// embeddedBefore calls visit for each struct that lies by value in `symbol` before `end`, also inside others. `inside`
// says whether to go into one.
func (l layouts) embeddedBefore(symbol string, end int, inside func(string) bool, visit func(string)) {
	for _, member := range l[symbol].Fields {
		if member.Struct == "" || member.Offset >= end || isHeader(member.Struct) {
			continue
		}
		if strings.HasPrefix(member.Struct, "struct {") || inside(member.Struct) {
			l.embeddedBefore(member.Struct, end-member.Offset, inside, visit)
			continue
		}
		generic, _, _ := strings.Cut(member.Struct, "[")
		visit(generic)
	}
}

// isHeader tells strings, slices and interfaces, which DWARF calls structs, and which will not change.
func isHeader(symbol string) bool {
	return symbol == "string" || symbol == "runtime.iface" || symbol == "runtime.eface" || strings.HasPrefix(symbol, "[]")
}
