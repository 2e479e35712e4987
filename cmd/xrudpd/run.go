package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/cmd/xrudpd/serve"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/game/policethief"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/game/relay"
	"github.com/xrudp/xrudp/userspace/worker"
)

// options are the flags of run.
type options struct {
	file    string
	summary string
	cfg     config.Config
}

func runFlags(o *options) *flag.FlagSet {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.StringVar(&o.file, "config", "", "TOML file with settings, which flags override")
	fs.StringVar(&o.summary, "summary-json", "", "file to write what was counted to, on exit")
	o.cfg = config.Default()
	o.cfg.Flags(fs)
	return fs
}

// settings reads the flags, and the file they name, which they override.
func settings(args []string) (o options, err error) {
	fs := runFlags(&o)
	if err := parse(fs, args); err != nil {
		return o, err
	}
	if o.file == "" {
		return o, o.cfg.Validate()
	}
	path := o.file
	fs = runFlags(&o)
	if err := o.cfg.Load(path); err != nil {
		return o, err
	}
	if err := parse(fs, args); err != nil {
		return o, err
	}
	return o, o.cfg.Validate()
}

// run serves until a signal. Whatever was attached is detached on every way
// out, a panic included.
func run(args []string) (err error) {
	o, err := settings(args)
	if err != nil {
		return err
	}
	cfg := o.cfg
	log := newLogger(cfg)

	// From here on a signal ends the server in order, also while it starts.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	offered, recorded := games(cfg, log)
	server, err := serve.Open(cfg, worker.Game(offered), log)
	if err != nil {
		return err
	}
	defer recorded()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		err = errors.Join(err, server.Close())
	}()
	announce(log, cfg, server.Report())
	before, err := server.Status()
	if err != nil {
		return err
	}
	server.Start()
	err = wait(log, cfg, server, before, signals)
	if o.summary != "" {
		err = errors.Join(err, writeSummary(server, before, o.summary))
	}
	return err
}

// games are what the server has to offer. Recordings are kept by the time that wait
// returns, of games that had ended by then.
func games(cfg config.Config, log zerolog.Logger) (opts game.Options, wait func()) {
	var recordings sync.WaitGroup
	opts = plaza.Options()
	opts.Kinds = append(opts.Kinds, relay.Kind())
	for _, o := range []policethief.Options{{Name: protocol.Name}, {Name: protocol.Fast, Rules: rules.Fast()}} {
		o.Truth = cfg.Truth
		if cfg.RecordDir != "" {
			o.Record = func(room uint32, recording []byte) {
				recordings.Go(func() { record(log, cfg.RecordDir, room, recording) })
			}
		}
		opts.Kinds = append(opts.Kinds, policethief.Kind(o))
	}
	return opts, recordings.Wait
}

// record keeps what was played in a room.
func record(log zerolog.Logger, dir string, room uint32, recording []byte) {
	path := filepath.Join(dir, fmt.Sprintf("%s-%d.xpt", time.Now().UTC().Format("20060102-150405.000"), room))
	if err := os.WriteFile(path, recording, 0o644); err != nil {
		log.Error().Err(err).Msg("recording not kept")
		return
	}
	log.Info().Str("file", path).Int("bytes", len(recording)).Msg("game recorded")
}

func writeSummary(server *serve.Server, since *serve.Status, path string) error {
	sum, err := server.Summary(since)
	if err != nil {
		return err
	}
	return sum.WriteFile(path)
}

// wait returns when the server ended, by a signal or by itself.
func wait(log zerolog.Logger, cfg config.Config, server *serve.Server, before *serve.Status, signals <-chan os.Signal) error {
	var status <-chan time.Time
	if cfg.Status {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		status = ticker.C
	}
	for {
		select {
		case <-server.Done():
			return server.Err()
		case <-status:
			now, err := server.Status()
			if err != nil {
				log.Error().Err(err).Msg("status not read")
				continue
			}
			fmt.Println(now.Line(before))
			before = now
		case s := <-signals:
			log.Info().Stringer("signal", s).Msg("shutting down")
			return shutdown(cfg, server, signals)
		}
	}
}

// shutdown takes leave of the clients; another signal cuts it short. One within a
// second is a copy: timeout(1) sends one to the process and one to its group.
func shutdown(cfg config.Config, server *serve.Server, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(cfg.ShutdownTimeout))
	defer cancel()
	began := time.Now()
	go func() {
		for {
			select {
			case <-signals:
				if time.Since(began) >= time.Second {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return server.Shutdown(ctx)
}

// announce says what was obtained, and why not better.
func announce(log zerolog.Logger, cfg config.Config, r serve.Report) {
	for _, w := range r.Warnings {
		log.Warn().Msg(w)
	}
	log.Info().
		Str("mode", r.Mode).
		Str("af_xdp", r.AFXDP).
		Strs("reasons", r.Reasons).
		Str("listen", cfg.Listen).
		Str("compact_listen", cfg.CompactListen).
		Str("interface", cfg.Interface).
		Ints("cpus", r.CPUs).
		Int("workers", r.Geometry.Workers).
		Int("commit_slots", r.Geometry.Slots).
		Int("max_sessions", r.Geometry.MaxSessions).
		Str("kept_in", r.KeptIn).
		Bool("continued", r.Reused).
		Msg("serving")
}

// newLogger writes for people on a terminal, JSON otherwise.
func newLogger(cfg config.Config) zerolog.Logger {
	log := zerolog.New(os.Stderr)
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly})
	}
	return log.Level(cfg.Level()).With().Timestamp().Str("instance", cfg.Instance).Logger()
}
