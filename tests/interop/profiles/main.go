// SPDX-License-Identifier: Apache-2.0
// Copyright The otel_ebpf Authors

// Reads what our encoders write with what others read it with: check-profiles FILE.pb...
//
// FILE.pb is decoded by the official Go bindings of OTLP and held to the rules of the data model. Where there are
// FILE.json and FILE.pb.gz, the Collector's reader of OTLP/JSON has to find the same in the one, and pprof's own reader
// the same samples in the other. Prints one JSON object per file; the exit code is 1 when something is wrong.
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	service "go.opentelemetry.io/proto/otlp/collector/profiles/v1development"
	"google.golang.org/protobuf/proto"
)

// Result is what a file holds.
type Result struct {
	File      string         `json:"file"`
	Processes int            `json:"processes"`
	Samples   map[string]int `json:"samples"` // by span id, "" for those outside of spans
	Read      []string       `json:"read"`    // the files that were there
	Problems  []string       `json:"problems"`
}

func decode(bytes []byte) (*service.ExportProfilesServiceRequest, error) {
	request := &service.ExportProfilesServiceRequest{}
	return request, proto.Unmarshal(bytes, request)
}

// samplesBySpan counts timestamps by the span id of the link.
func samplesBySpan(request *service.ExportProfilesServiceRequest) map[string]int {
	counts := map[string]int{}
	for _, resource := range request.ResourceProfiles {
		for _, scope := range resource.ScopeProfiles {
			for _, one := range scope.Profiles {
				for _, sample := range one.Samples {
					span := ""
					if sample.LinkIndex != 0 {
						span = hex.EncodeToString(request.Dictionary.LinkTable[sample.LinkIndex].SpanId)
					}
					counts[span] += len(sample.TimestampsUnixNano)
				}
			}
		}
	}
	return counts
}

// normalized removes what is random in each encoding, and what the Collector writes in other ways.
func normalized(request *service.ExportProfilesServiceRequest) *service.ExportProfilesServiceRequest {
	copied := proto.Clone(request).(*service.ExportProfilesServiceRequest)
	for _, resource := range copied.ResourceProfiles {
		for _, scope := range resource.ScopeProfiles {
			for _, one := range scope.Profiles {
				one.ProfileId = nil
			}
		}
	}
	// A link of 16 and 8 zero bytes becomes one of none, the attribute without a value one with an empty value.
	if links := copied.Dictionary.GetLinkTable(); len(links) > 0 {
		links[0].TraceId, links[0].SpanId = nil, nil
	}
	if attributes := copied.Dictionary.GetAttributeTable(); len(attributes) > 0 {
		attributes[0].Value = nil
	}
	return copied
}

func checkJSON(text []byte, request *service.ExportProfilesServiceRequest) []string {
	collector := pprofileotlp.NewExportRequest()
	if err := collector.UnmarshalJSON(text); err != nil {
		return []string{"JSON: " + err.Error()}
	}
	bytes, err := collector.MarshalProto()
	if err != nil {
		return []string{"JSON: " + err.Error()}
	}
	other, err := decode(bytes)
	if err != nil {
		return []string{"JSON: " + err.Error()}
	}
	if ours, theirs := normalized(request), normalized(other); !proto.Equal(ours, theirs) {
		return []string{fmt.Sprintf("JSON differs from protobuf:\n%.2000v\n%.2000v", theirs.String(), ours.String())}
	}
	return nil
}

// checkPprof: valid by pprof's own rules, and the same samples by span, without a label of ours that is not single.
func checkPprof(bytes []byte, expected map[string]int) []string {
	parsed, err := profile.ParseData(bytes) // checks it, too
	if err != nil {
		return []string{"pprof: " + err.Error()}
	}
	var problems []string
	counts := map[string]int{}
	for i, sample := range parsed.Sample {
		spans, traces := sample.Label["span_id"], sample.Label["trace_id"]
		if len(spans) > 1 || len(spans) != len(traces) {
			problems = append(problems, fmt.Sprintf("pprof: sample %d: traces %v, spans %v", i, traces, spans))
			continue
		}
		for key, values := range sample.Label {
			if len(values) != 1 || key == "" {
				problems = append(problems, fmt.Sprintf("pprof: sample %d: label %q is %q", i, key, values))
			}
		}
		if len(sample.NumLabel["pid"]) != 1 || len(sample.NumLabel["thread"]) != 1 {
			problems = append(problems, fmt.Sprintf("pprof: sample %d: numbers %v", i, sample.NumLabel))
		}
		if sample.Value[1] != sample.Value[0]*parsed.Period {
			problems = append(problems, fmt.Sprintf("pprof: sample %d: values %v", i, sample.Value))
		}
		counts[strings.Join(spans, "")] += int(sample.Value[0])
	}
	if !maps.Equal(counts, expected) {
		problems = append(problems, fmt.Sprintf("pprof: samples by span are %v, those of OTLP %v", counts, expected))
	}
	return problems
}

func checkFiles(file string) Result {
	result := Result{File: file, Read: []string{file}}
	bytes, err := os.ReadFile(file)
	if err != nil {
		result.Problems = []string{err.Error()}
		return result
	}
	request, err := decode(bytes)
	if err != nil {
		result.Problems = []string{"protobuf: " + err.Error()}
		return result
	}
	result.Processes = len(request.ResourceProfiles)
	if result.Problems = check(request); len(result.Problems) > 0 {
		return result
	}
	result.Samples = samplesBySpan(request)
	also := func(extension string, check func(bytes []byte) []string) {
		name := strings.TrimSuffix(file, ".pb") + extension
		content, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			result.Problems = append(result.Problems, err.Error())
		default:
			result.Read = append(result.Read, name)
			result.Problems = append(result.Problems, check(content)...)
		}
	}
	also(".json", func(content []byte) []string { return checkJSON(content, request) })
	also(".pb.gz", func(content []byte) []string { return checkPprof(content, result.Samples) })
	return result
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: check-profiles FILE.pb...")
		os.Exit(2)
	}
	failed := false
	for _, file := range slices.Sorted(slices.Values(os.Args[1:])) {
		result := checkFiles(file)
		failed = failed || len(result.Problems) > 0
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if failed {
		os.Exit(1)
	}
}
