// Package xrudp is a reliable-UDP server for real-time games whose fast path
// runs in the Linux kernel. This file only generates the bindings of the XDP
// programs into loader; the server is cmd/xrudpd, the client userspace/client.
package xrudp

//go:generate go tool bpf2go -output-dir loader -go-package loader -tags linux -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 gate bpf/gate.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-sign-compare -Wno-unused-parameter -Iheaders -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -output-dir loader -go-package loader -tags linux -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types pktgen bpf/pktgen.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-sign-compare -Wno-unused-parameter -Iheaders -I/usr/include/x86_64-linux-gnu
