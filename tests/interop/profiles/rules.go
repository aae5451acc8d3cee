// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"fmt"
	"slices"
	"strings"

	service "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	profiles "go.opentelemetry.io/proto/otlp/profiles/v1development"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// buildIDs are the attributes of which a mapping must have one.
var buildIDs = []string{
	"process.executable.build_id.gnu", "process.executable.build_id.go", "process.executable.build_id.htlhash",
}

// checker gathers what breaks a rule of the OTLP profiles data model (profiles.proto, comments of each field).
type checker struct {
	dictionary *profiles.ProfilesDictionary
	used       map[string][]bool // by table: whether something refers to the entry
	problems   []string
}

func (c *checker) fail(where, format string, args ...any) {
	c.problems = append(c.problems, where+": "+fmt.Sprintf(format, args...))
}

// use notes a reference into a table; false when the entry does not exist.
func (c *checker) use(where, table string, index int32) bool {
	if index < 0 || int(index) >= len(c.used[table]) {
		c.fail(where, "refers to %s[%d] of %d", table, index, len(c.used[table]))
		return false
	}
	c.used[table][index] = true
	return true
}

// text follows a reference to a string, which has to be set.
func (c *checker) text(where string, index int32) string {
	if !c.use(where, "strings", index) {
		return ""
	}
	if index == 0 {
		c.fail(where, "is empty")
	}
	return c.dictionary.StringTable[index]
}

// attributes follows references to attributes: no key twice, none empty. It returns the values by key.
func (c *checker) attributes(where string, indices []int32) map[string]string {
	values := map[string]string{}
	for _, index := range indices {
		if !c.use(where, "attributes", index) {
			continue
		}
		if index == 0 {
			c.fail(where, "refers to the attribute 0")
			continue
		}
		attribute := c.dictionary.AttributeTable[index]
		key := c.text(where+": key of an attribute", attribute.KeyStrindex)
		if _, known := values[key]; known {
			c.fail(where, "has the attribute %q twice", key)
		}
		if attribute.Value == nil {
			c.fail(where, "attribute %q has no value", key)
		}
		values[key] = attribute.Value.String()
	}
	return values
}

// check returns one line per broken rule.
func check(request *service.ExportProfilesServiceRequest) []string {
	c := &checker{dictionary: request.Dictionary, used: map[string][]bool{}}
	if c.dictionary == nil {
		return []string{"no dictionary"}
	}
	c.unknownFields("request", request.ProtoReflect())
	d := c.dictionary
	checkTable(c, "mappings", d.MappingTable)
	checkTable(c, "locations", d.LocationTable)
	checkTable(c, "functions", d.FunctionTable)
	checkTable(c, "links", d.LinkTable)
	checkTable(c, "attributes", d.AttributeTable)
	checkTable(c, "stacks", d.StackTable)
	c.checkStrings()
	for i, resource := range request.ResourceProfiles {
		where := fmt.Sprintf("resource %d", i)
		keys := map[string]bool{}
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.Key == "" || keys[attribute.Key] {
				c.fail(where, "attribute %q is there twice or has no key", attribute.Key)
			}
			keys[attribute.Key] = true
		}
		count := 0
		for _, scope := range resource.ScopeProfiles {
			for _, profile := range scope.Profiles {
				count++
				c.checkProfile(where+": profile", profile)
			}
		}
		if count == 0 {
			c.fail(where, "has no profile")
		}
	}
	c.checkDictionary()
	for table, used := range c.used {
		for i := 1; i < len(used); i++ {
			if !used[i] {
				c.fail(table, "nothing refers to %d", i)
			}
		}
	}
	slices.Sort(c.problems)
	return c.problems
}

// unknownFields looks for what the official bindings do not know.
func (c *checker) unknownFields(where string, message protoreflect.Message) {
	if len(message.GetUnknown()) > 0 {
		c.fail(where, "has fields that %s does not have", message.Descriptor().FullName())
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := where + "." + string(field.Name())
		switch {
		case field.Kind() != protoreflect.MessageKind:
		case field.IsList():
			for i := range value.List().Len() {
				c.unknownFields(name, value.List().Get(i).Message())
			}
		default:
			c.unknownFields(name, value.Message())
		}
		return true
	})
}

// checkTable: element 0 is the zero value, and no element is there twice.
func checkTable[Entry proto.Message](c *checker, name string, table []Entry) {
	c.used[name] = make([]bool, len(table))
	seen := map[string]int{}
	for i, entry := range table {
		bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(entry)
		if err != nil {
			c.fail(name, "%d: %v", i, err)
		}
		if first, known := seen[string(bytes)]; known {
			c.fail(name, "%d is the same as %d", i, first)
		}
		seen[string(bytes)] = i
	}
	if len(table) == 0 {
		c.fail(name, "no element 0")
		return
	}
	if name == "links" { // its zero value is tested with the others
		return
	}
	if proto.Size(table[0]) != 0 {
		c.fail(name, "element 0 is %v", table[0])
	}
}

func (c *checker) checkStrings() {
	table := c.dictionary.StringTable
	c.used["strings"] = make([]bool, len(table))
	if len(table) == 0 || table[0] != "" {
		c.fail("strings", "element 0 is not the empty string")
	}
	seen := map[string]bool{}
	for i, text := range table {
		if seen[text] {
			c.fail("strings", "%d, %q, is there twice", i, text)
		}
		seen[text] = true
	}
}

func (c *checker) checkProfile(where string, profile *profiles.Profile) {
	for name, kind := range map[string]*profiles.ValueType{
		"sample_type": profile.SampleType, "period_type": profile.PeriodType,
	} {
		c.text(where+": type of "+name, kind.GetTypeStrindex())
		c.text(where+": unit of "+name, kind.GetUnitStrindex())
	}
	if len(profile.ProfileId) != 16 || strings.Trim(string(profile.ProfileId), "\x00") == "" {
		c.fail(where, "profile_id is %x", profile.ProfileId)
	}
	c.attributes(where, profile.AttributeIndices)
	begin, end := profile.TimeUnixNano, profile.TimeUnixNano+profile.DurationNano
	identities, shapes := map[string]int{}, map[[2]bool]bool{}
	for i, sample := range profile.Samples {
		where := fmt.Sprintf("%s: sample %d", where, i)
		c.use(where, "stacks", sample.StackIndex)
		c.use(where, "links", sample.LinkIndex)
		c.attributes(where, sample.AttributeIndices)
		sorted := slices.Sorted(slices.Values(sample.AttributeIndices))
		identity := fmt.Sprint(sample.StackIndex, sample.LinkIndex, sorted)
		if first, known := identities[identity]; known {
			c.fail(where, "is the same as sample %d", first)
		}
		identities[identity] = i
		values, times := len(sample.Values), len(sample.TimestampsUnixNano)
		shapes[[2]bool{values > 0, times > 0}] = true
		if values == 0 && times == 0 || values > 0 && times > 0 && values != times {
			c.fail(where, "has %d values and %d timestamps", values, times)
		}
		for _, time := range sample.TimestampsUnixNano {
			if time < begin || time >= end {
				c.fail(where, "was taken at %d, outside of [%d, %d)", time, begin, end)
			}
		}
	}
	if len(shapes) > 1 {
		c.fail(where, "has samples with and without values or timestamps")
	}
}

// checkDictionary: what entries say and what they refer to.
func (c *checker) checkDictionary() {
	d := c.dictionary
	for i, stack := range d.StackTable {
		for _, index := range stack.LocationIndices {
			c.use(fmt.Sprintf("stack %d", i), "locations", index)
		}
	}
	for i, location := range d.LocationTable {
		where := fmt.Sprintf("location %d", i)
		c.attributes(where, location.AttributeIndices)
		if c.use(where, "mappings", location.MappingIndex) && location.MappingIndex != 0 {
			mapping := d.MappingTable[location.MappingIndex]
			if location.Address < mapping.MemoryStart || location.Address > mapping.MemoryLimit {
				c.fail(where, "address %#x is outside of its mapping", location.Address)
			}
		}
		for _, line := range location.Lines {
			if c.use(where, "functions", line.FunctionIndex) && line.FunctionIndex == 0 || line.Line < 0 || line.Column < 0 {
				c.fail(where, "function %d, line %d, column %d", line.FunctionIndex, line.Line, line.Column)
			}
		}
	}
	for i, function := range d.FunctionTable[min(1, len(d.FunctionTable)):] {
		where := fmt.Sprintf("function %d", i+1)
		c.text(where+": name", function.NameStrindex)
		c.use(where, "strings", function.SystemNameStrindex)
		c.use(where, "strings", function.FilenameStrindex)
	}
	for i, mapping := range d.MappingTable[min(1, len(d.MappingTable)):] {
		where := fmt.Sprintf("mapping %d", i+1)
		c.use(where, "strings", mapping.FilenameStrindex)
		attributes := c.attributes(where, mapping.AttributeIndices)
		if !slices.ContainsFunc(buildIDs, func(key string) bool { _, has := attributes[key]; return has }) {
			c.fail(where, "has no build id")
		}
		if mapping.MemoryStart >= mapping.MemoryLimit {
			c.fail(where, "goes from %#x to %#x", mapping.MemoryStart, mapping.MemoryLimit)
		}
	}
	for i, link := range d.LinkTable {
		isZero := strings.Trim(string(link.TraceId)+string(link.SpanId), "\x00") == ""
		if len(link.TraceId) != 16 || len(link.SpanId) != 8 || isZero != (i == 0) {
			c.fail(fmt.Sprintf("link %d", i), "is %x/%x", link.TraceId, link.SpanId)
		}
	}
	for i, attribute := range d.AttributeTable {
		c.use(fmt.Sprintf("attribute %d", i), "strings", attribute.UnitStrindex)
	}
}
