// Command prometheus-check reads rules and expressions as Prometheus does, and evaluates expressions on series that are made up: from
// standard input to standard output, as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// A question: what an expression says at a time, given some series.
type question struct {
	// In the language of Prometheus' own tests: `load 1m` and series with their values.
	Series string
	// PromQL.
	Expression string
	// Minutes after the first values.
	Minute int
}

func main() {
	var input struct {
		// A file of rules.
		Rules string
		// Expressions outside of rules.
		Expressions []string
		// What is to be evaluated.
		Questions []question
	}
	if err := json.NewDecoder(os.Stdin).Decode(&input); err != nil {
		complain(err)
		os.Exit(2)
	}
	problems := check(input.Rules, input.Expressions)
	answers := make([]promql.Vector, 0, len(input.Questions))
	for _, question := range input.Questions {
		answer, err := evaluate(question)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", question.Expression, err))
		}
		answers = append(answers, answer)
	}
	for _, problem := range problems {
		complain(problem)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil || len(problems) > 0 {
		os.Exit(1)
	}
}

// check tells what the parsers say.
func check(rules string, expressions []string) []error {
	reader := parser.NewParser(parser.Options{})
	_, problems := rulefmt.Parse([]byte(rules), false, model.UTF8Validation, reader, slog.Default())
	for _, expression := range expressions {
		if _, err := reader.ParseExpr(expression); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", expression, err))
		}
	}
	return problems
}

// evaluate tells what an expression says: nothing, or one element for each alert that it makes.
func evaluate(asked question) (promql.Vector, error) {
	test := &outsideOfTests{}
	defer test.cleanUp()
	storage := promqltest.LoadedStorage(test, asked.Series)
	engine := promqltest.NewTestEngine(test, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	at := time.Unix(0, 0).Add(time.Duration(asked.Minute) * time.Minute)
	query, err := engine.NewInstantQuery(context.Background(), storage, nil, asked.Expression, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	return query.Exec(context.Background()).Vector()
}

// outsideOfTests stands where Prometheus' helpers want a test.
type outsideOfTests struct {
	testing.TB
	cleanups []func()
}

func (*outsideOfTests) Helper()             {}
func (*outsideOfTests) Name() string        { return "prometheus-check" }
func (*outsideOfTests) Log(...any)          {}
func (*outsideOfTests) Logf(string, ...any) {}
func (*outsideOfTests) FailNow()            { os.Exit(1) }

func (*outsideOfTests) Errorf(format string, arguments ...any) {
	complain(fmt.Errorf(format, arguments...))
}

func (t *outsideOfTests) Fatalf(format string, arguments ...any) {
	t.Errorf(format, arguments...)
	t.FailNow()
}

func (t *outsideOfTests) TempDir() string {
	folder, err := os.MkdirTemp("", "prometheus-check")
	if err != nil {
		t.Fatalf("%w", err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

func (t *outsideOfTests) Cleanup(cleanup func()) {
	t.cleanups = append(t.cleanups, cleanup)
}

func (t *outsideOfTests) cleanUp() {
	for last := len(t.cleanups) - 1; last >= 0; last-- {
		t.cleanups[last]()
	}
}

func complain(err error) {
	fmt.Fprintln(os.Stderr, err)
}
