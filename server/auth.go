package server

import (
	"crypto/sha256"
	"crypto/subtle"

	"sett/commands"
	"sett/resp"
)

// defaultUser is the only user of this version.
const defaultUser = "default"

// access says who may come in. It changes as a whole.
type access struct {
	password  *[sha256.Size]byte // nil: none is asked for
	protected bool               // without a password only clients on this machine may come
}

// SetPassword is requirepass; "" asks for none. Who is connected stays, as in Redis: authenticated if no password was asked for before.
func (s *Server) SetPassword(password string) {
	s.changeAccess(func(a *access) {
		a.password = nil
		if password != "" {
			sum := sha256.Sum256([]byte(password))
			a.password = &sum
		}
	})
}

// SetProtected is protected-mode.
func (s *Server) SetProtected(on bool) { s.changeAccess(func(a *access) { a.protected = on }) }

func (s *Server) changeAccess(change func(*access)) {
	for {
		old := s.access.Load()
		next := *old
		change(&next)
		if s.access.CompareAndSwap(old, &next) {
			return
		}
	}
}

// authenticates tells whether a user with this password may come in. How long it takes says nothing about the password.
func (a *access) authenticates(user, password []byte) bool {
	if string(user) != defaultUser {
		return false
	}
	if a.password == nil {
		return true
	}
	sum := sha256.Sum256(password)
	return subtle.ConstantTimeCompare(sum[:], a.password[:]) == 1
}

// enter is the beginning of a session, and RESET: whoever comes while no password is asked for is authenticated from then on.
func (s *session) enter() { s.authenticated = s.server.access.Load().password == nil }

// isStranger tells whether the client has to authenticate before anything else.
func (s *session) isStranger() bool {
	return !s.authenticated && s.server.access.Load().password != nil
}

func (s *session) authenticate(user, password []byte) error {
	if !s.server.access.Load().authenticates(user, password) {
		return errWrongPass
	}
	s.authenticated = true
	return nil
}

func auth(s *session, b *buffers, args [][]byte) {
	user, password := []byte(defaultUser), args[1]
	switch {
	case len(args) > 3:
		fail(b, commands.ErrSyntax)
		return
	case len(args) == 3:
		user, password = args[1], args[2]
	case s.server.access.Load().password == nil:
		fail(b, errNoPassword)
		return
	}
	if err := s.authenticate(user, password); err != nil {
		fail(b, err)
		return
	}
	b.out.Status("OK")
}

// hello is HELLO [protover [AUTH username password] [SETNAME name]]. As in Redis, what stands before a wrong option has taken effect.
func hello(s *session, b *buffers, args [][]byte) {
	proto, err := s.greet(args)
	if err != nil {
		fail(b, err)
		return
	}
	if proto != 0 {
		s.setProto(b, proto)
	}
	b.out.Map(7)
	text := func(name, value string) { b.out.BulkString(name); b.out.BulkString(value) }
	text("server", "redis")
	text("version", s.server.opts.About.RedisVersion)
	b.out.BulkString("proto")
	b.out.Int(int64(s.proto))
	b.out.BulkString("id")
	b.out.Int(s.clientID())
	text("mode", "standalone")
	text("role", s.helloRole())
	b.out.BulkString("modules")
	b.out.Array(0)
}

// helloRole is this node's. Its mode stays standalone in a cluster (decision 019).
func (s *session) helloRole() string {
	if s.follows() || s.cluster() == nil && s.server.opts.Clustered {
		return "replica"
	}
	return "master"
}

// greet does what HELLO's arguments ask for, but for the protocol that it returns; 0: the present one.
func (s *session) greet(args [][]byte) (proto int, err error) {
	if len(args) > 1 {
		n, ok := resp.ParseInt(args[1])
		if !ok {
			return 0, errProtoNotInteger
		}
		if n < 2 || n > 3 {
			return 0, errNoProto
		}
		proto = int(n)
	}
	for rest := args[min(len(args), 2):]; len(rest) > 0; {
		switch {
		case is(rest[0], "auth") && len(rest) > 2:
			if err := s.authenticate(rest[1], rest[2]); err != nil {
				return 0, err
			}
			rest = rest[3:]
		case is(rest[0], "setname") && len(rest) > 1:
			if err := s.setName(rest[1]); err != nil {
				return 0, err
			}
			rest = rest[2:]
		default:
			return 0, errHelloOption(rest[0])
		}
	}
	if !s.authenticated {
		return 0, errHelloNoAuth
	}
	return proto, nil
}

// setProto changes the protocol between two replies.
func (s *session) setProto(b *buffers, proto int) { s.proto, b.out.Proto = proto, proto }

// reset is RESET: the session is as if it had just begun, but for what its library has said about itself.
func reset(s *session, b *buffers, _ [][]byte) {
	s.endMulti()
	s.forgetRemote()
	s.read = readLevel{}
	s.db, s.name, s.replies = 0, "", repliesOn
	s.flags &^= peerNoTouch | peerReadOnly
	s.setProto(b, 2)
	s.enter()
	b.out.Status("RESET")
}

// denied is Redis' answer to clients that protected mode keeps out.
const denied = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. " +
	"In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis " +
	"you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' " +
	"from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not " +
	"publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just " +
	"disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then " +
	"restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. " +
	"4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the " +
	"server to start accepting connections from the outside.\r\n"

// keepsOut tells whether protected mode turns the client away.
func (s *Server) keepsOut(p *peer) bool {
	a := s.access.Load()
	return a.protected && a.password == nil && !p.local
}
