package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/xrudp/xrudp/loader"
)

// check says what an interface can do.
func check(args []string) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	var opts loader.CheckOptions
	fs.StringVar(&opts.Interface, "iface", "", "network interface to look at")
	fs.StringVar(&opts.Interface, "interface", "", "the same as --iface")
	fs.BoolVar(&opts.NoProbe, "no-probe", false, "attach nothing, not even for a moment")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := parse(fs, args); err != nil {
		return err
	}
	if opts.Interface == "" {
		return usageError("--iface is empty, but has to be the name of an interface, as `ip link` shows it")
	}
	diagnosis, err := loader.Check(opts)
	if err != nil {
		return err
	}
	if !*asJSON {
		return diagnosis.WriteTable(os.Stdout)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(diagnosis); err != nil {
		return fmt.Errorf("print diagnosis: %w", err)
	}
	return nil
}
