package vcsim

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// gate stands before the simulator's HTTP handler: it asks for a session where a vCenter does, and makes the
// faults of a network.
type gate struct {
	next http.Handler

	mu          sync.Mutex
	requests    int
	drop        int
	dropPath    string
	delay       time.Duration
	ignoreRange bool
	opened      bool
	release     chan struct{}
	sessions    map[string]bool // keys that logins were answered with; false: expired
}

// DropRequests cuts the connection of the next n requests whose path begins with prefix.
func (s *Server) DropRequests(n int, prefix string) {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	s.gate.drop, s.gate.dropPath = n, prefix
}

// Delay makes every request wait for d before it is served.
func (s *Server) Delay(d time.Duration) {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	s.gate.delay, s.gate.release = d, make(chan struct{})
}

// Requests counts what was asked for over the network since Start.
func (s *Server) Requests() int {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	return s.gate.requests
}

// IgnoreRange makes file access answer with the whole file whatever range was asked for.
func (s *Server) IgnoreRange(on bool) {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	s.gate.ignoreRange = on
}

// ExpireSessions ends every session that was used on the network.
func (s *Server) ExpireSessions(ctx context.Context) error {
	s.gate.mu.Lock()
	var keys []string
	for key, live := range s.gate.sessions {
		if live {
			keys = append(keys, key)
		}
		s.gate.sessions[key] = false
	}
	s.gate.mu.Unlock()
	_, err := methods.TerminateSession(ctx, s.Client, &types.TerminateSession{
		This: *s.Client.ServiceContent.SessionManager, SessionId: keys,
	})
	return err
}

// open lets everything pass, so that closing waits for nothing.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.release != nil && !g.opened {
		close(g.release)
	}
	g.opened = true
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests++
	drop := g.drop > 0 && strings.HasPrefix(r.URL.Path, g.dropPath)
	if drop {
		g.drop--
	}
	delay, release, ignore := g.delay, g.release, g.ignoreRange
	allowed := g.admit(r)
	g.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-release:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case drop:
		panic(http.ErrAbortHandler) // net/http closes the connection without a word
	case !allowed:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case ignore:
		r.Header.Del("Range")
	}
	if strings.HasPrefix(r.URL.Path, "/sdk") {
		w = &learner{ResponseWriter: w, gate: g}
	}
	g.next.ServeHTTP(w, r)
}

// learner notes the session of a login before the client can see it.
type learner struct {
	http.ResponseWriter
	gate *gate
}

func (l *learner) WriteHeader(status int) {
	l.gate.learn((&http.Response{Header: l.Header()}).Cookies())
	l.ResponseWriter.WriteHeader(status)
}

// learn notes the session that a login was answered with.
func (g *gate) learn(cookies []*http.Cookie) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range cookies {
		if _, known := g.sessions[c.Value]; c.Name == soap.SessionCookieName && c.Value != "" && !known {
			g.sessions[c.Value] = true
		}
	}
}

// admit says whether r may pass. The caller holds g.mu.
func (g *gate) admit(r *http.Request) bool {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if strings.HasPrefix(r.URL.Path, "/folder/") {
		return err == nil && g.sessions[cookie.Value]
	}
	return true
}
