// Command prometheus-check reads rules and expressions as Prometheus does: from standard input, as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	var input struct {
		// A file of rules.
		Rules string
		// Expressions outside of rules.
		Expressions []string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&input); err != nil {
		complain(err)
		os.Exit(2)
	}
	reader := parser.NewParser(parser.Options{})
	_, problems := rulefmt.Parse([]byte(input.Rules), false, model.UTF8Validation, reader, slog.Default())
	for _, expression := range input.Expressions {
		if _, err := reader.ParseExpr(expression); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", expression, err))
		}
	}
	for _, problem := range problems {
		complain(problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func complain(err error) {
	fmt.Fprintln(os.Stderr, err)
}
