// Package e2e tests a whole server, with clients on real sockets: over native
// XDP and AF_XDP between network namespaces, over generic XDP, and over plain
// UDP with its state in a file, which needs no privileges.
//
// The server is a child process, the test binary run again, so that it can be
// killed. Its handler writes down every message before it returns; what the
// clients saw acknowledged on the wire is compared with that.
//
// Each test prints the seed of its dice; XRUDP_E2E_SEED repeats it.
package e2e
