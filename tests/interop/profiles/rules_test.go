// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

package main

import (
	"strings"
	"testing"

	service "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	profiles "go.opentelemetry.io/proto/otlp/profiles/v1development"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
)

func text(value string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}
}

func bytesOf(size int, value byte) []byte {
	out := make([]byte, size)
	out[0] = value
	return out
}

// valid breaks no rule.
func valid() *service.ExportProfilesServiceRequest {
	return &service.ExportProfilesServiceRequest{
		ResourceProfiles: []*profiles.ResourceProfiles{{
			Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: text("shop")}}},
			ScopeProfiles: []*profiles.ScopeProfiles{{Profiles: []*profiles.Profile{{
				SampleType:   &profiles.ValueType{TypeStrindex: 1, UnitStrindex: 2},
				PeriodType:   &profiles.ValueType{TypeStrindex: 3, UnitStrindex: 4},
				Period:       10,
				TimeUnixNano: 1000, DurationNano: 100,
				ProfileId: bytesOf(16, 1),
				Samples: []*profiles.Sample{
					{StackIndex: 1, LinkIndex: 1, AttributeIndices: []int32{2}, TimestampsUnixNano: []uint64{1000, 1099}},
					{StackIndex: 1, TimestampsUnixNano: []uint64{1050}},
				},
			}}}},
		}},
		Dictionary: &profiles.ProfilesDictionary{
			StringTable: []string{"", "samples", "count", "cpu", "nanoseconds", "main.burn", "/bin/shop",
				"process.executable.build_id.go", "tenant"},
			MappingTable: []*profiles.Mapping{
				{}, {MemoryStart: 0x1000, MemoryLimit: 0x2000, FilenameStrindex: 6, AttributeIndices: []int32{1}},
			},
			FunctionTable: []*profiles.Function{{}, {NameStrindex: 5}},
			LocationTable: []*profiles.Location{
				{}, {MappingIndex: 1, Address: 0x1010, Lines: []*profiles.Line{{FunctionIndex: 1, Line: 7}}},
			},
			StackTable: []*profiles.Stack{{}, {LocationIndices: []int32{1}}},
			LinkTable: []*profiles.Link{
				{TraceId: make([]byte, 16), SpanId: make([]byte, 8)}, {TraceId: bytesOf(16, 1), SpanId: bytesOf(8, 2)},
			},
			AttributeTable: []*profiles.KeyValueAndUnit{
				{}, {KeyStrindex: 7, Value: text("id")}, {KeyStrindex: 8, Value: text("blue")},
			},
		},
	}
}

func TestAValidProfileBreaksNoRule(t *testing.T) {
	if problems := check(valid()); len(problems) > 0 {
		t.Fatal(problems)
	}
}

// field127 is a varint in a field that no message has.
var field127 = []byte{0xf8, 0x07, 1}

// opened is a valid profile with handles on what the cases change.
type opened struct {
	request *service.ExportProfilesServiceRequest
	*profiles.ProfilesDictionary
	strings  []string
	resource *profiles.ResourceProfiles
	profile  *profiles.Profile
	sample   *profiles.Sample
	link     *profiles.Link
	mapping  *profiles.Mapping
	location *profiles.Location
}

func open() *opened {
	request := valid()
	dictionary := request.Dictionary
	profile := request.ResourceProfiles[0].ScopeProfiles[0].Profiles[0]
	return &opened{
		request, dictionary, dictionary.StringTable, request.ResourceProfiles[0], profile, profile.Samples[0],
		dictionary.LinkTable[1], dictionary.MappingTable[1], dictionary.LocationTable[1],
	}
}

func TestEveryRuleIsHeld(t *testing.T) {
	for expected, breakIt := range map[string]func(o *opened){
		"no dictionary":                                  func(o *opened) { o.request.Dictionary = nil },
		"strings: element 0 is not the empty":            func(o *opened) { o.strings[0] = "x" },
		`strings: 5, "cpu", is there twice`:              func(o *opened) { o.strings[5] = "cpu" },
		"strings: nothing refers to 9":                   func(o *opened) { o.StringTable = append(o.strings, "x") },
		"mappings: element 0 is":                         func(o *opened) { o.MappingTable[0].MemoryStart = 1 },
		"locations: no element 0":                        func(o *opened) { o.LocationTable = nil },
		"link 0: is 00000000000000000000000000000000/01": func(o *opened) { o.LinkTable[0].SpanId = bytesOf(8, 1) },
		"link 0: is /":                                   func(o *opened) { o.LinkTable[0] = &profiles.Link{} },
		"links: 1 is the same as 0":                      func(o *opened) { o.LinkTable[1] = o.LinkTable[0] },
		"link 1: is 0100000000000000/":                   func(o *opened) { o.link.TraceId = bytesOf(8, 1) },
		"links: nothing refers to 1":                     func(o *opened) { o.sample.LinkIndex = 0 },
		"sample 0: refers to links[2] of 2":              func(o *opened) { o.sample.LinkIndex = 2 },
		"sample 0: refers to stacks[-1] of 2":            func(o *opened) { o.sample.StackIndex = -1 },
		"stack 1: refers to locations[9] of 2":           func(o *opened) { o.StackTable[1].LocationIndices[0] = 9 },
		"was taken at 999":                               func(o *opened) { o.sample.TimestampsUnixNano[0] = 999 },
		"was taken at 1100":                              func(o *opened) { o.sample.TimestampsUnixNano[1] = 1100 },
		"has 0 values and 0 timestamps":                  func(o *opened) { o.sample.TimestampsUnixNano = nil },
		"has 1 values and 2 timestamps":                  func(o *opened) { o.sample.Values = []int64{1} },
		"has samples with and without values":            func(o *opened) { o.sample.Values = []int64{1, 1} },
		"sample 1: is the same as sample 0":              func(o *opened) { o.profile.Samples[1] = o.sample },
		`has the attribute "tenant" twice`:               func(o *opened) { o.sample.AttributeIndices = []int32{2, 2} },
		"refers to the attribute 0":                      func(o *opened) { o.sample.AttributeIndices = []int32{2, 0} },
		`attribute "tenant" has no value`:                func(o *opened) { o.AttributeTable[2].Value = nil },
		"key of an attribute: is empty":                  func(o *opened) { o.AttributeTable[2].KeyStrindex = 0 },
		"mapping 1: has no build id":                     func(o *opened) { o.mapping.AttributeIndices = nil },
		"mapping 1: goes from 0x1000 to 0x1000":          func(o *opened) { o.mapping.MemoryLimit = 0x1000 },
		"location 1: address 0x3000 is outside":          func(o *opened) { o.location.Address = 0x3000 },
		"location 1: function 0":                         func(o *opened) { o.location.Lines[0].FunctionIndex = 0 },
		"line -1":                                        func(o *opened) { o.location.Lines[0].Line = -1 },
		"function 1: name: is empty":                     func(o *opened) { o.FunctionTable[1].NameStrindex = 0 },
		"profile_id is 00":                               func(o *opened) { o.profile.ProfileId = make([]byte, 16) },
		"unit of period_type: is empty":                  func(o *opened) { o.profile.PeriodType.UnitStrindex = 0 },
		"is there twice or has no key":                   func(o *opened) { o.resource.Resource.Attributes[0].Key = "" },
		"resource 0: has no profile":                     func(o *opened) { o.resource.ScopeProfiles = nil },
		"profiles: has fields":                           func(o *opened) { o.profile.ProtoReflect().SetUnknown(field127) },
	} {
		t.Run(expected, func(t *testing.T) {
			changed := open()
			breakIt(changed)
			if problems := strings.Join(check(changed.request), "\n"); !strings.Contains(problems, expected) {
				t.Errorf("not found among:\n%s", problems)
			}
		})
	}
}
