package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
)

// A snapshot goes over a stream of its own. Raft's own way wants to know its size before, and gives all of it, loading included, one deadline that
// follows from that size: a slow disk on the other side, and it would never end. Here
//
//	request  length(4) JSON of raft's request
//	frames   length(4) bytes, …; a length of idle: the sender is still there
//	end      0(4) bytes(8) xxhash64 of them(8)
//
// go one way, and meanwhile the other
//
//	'.' the receiver is still there · 'R' length(4) JSON of raft's answer, or why there is none
//
// Both sides send a sign of life each second, and give up when they have heard nothing for silence; how long it takes in all does not matter.

const (
	frameBytes = 256 << 10
	idle       = 1<<32 - 1

	signEvery = time.Second
	silence   = 20 * time.Second

	maxRequestBytes = 1 << 20
)

// Dialer opens a stream for a snapshot to the node whose cluster port is at addr.
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// answer ends a transfer.
type answer struct {
	Response *raft.InstallSnapshotResponse
	Err      string
}

// Send sends a snapshot to another node, and returns when that has taken it over. It is raft's Transport.InstallSnapshot.
func (s *Snapshots) Send(addr raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	ctx, cancel := context.WithCancel(s.closed)
	defer cancel()
	conn, err := s.o.Dial(ctx, string(addr))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	under := s.beginTransfer(&s.o.Metrics.SnapshotSentBytes, s.o.Logger.With("to", addr, "index", req.LastLogIndex))
	under.log.Info("sending a copy of all data")
	answered := make(chan error, 1)
	go func() {
		err := listen(conn, resp)
		cancel() // whatever is still being sent, nobody wants it
		answered <- err
	}()
	bytes, err := send(ctx, conn, req, data, under)
	if err != nil {
		conn.Close()
	}
	// What the other side says comes first: it is why sending failed.
	if said := <-answered; said != nil && (err == nil || errors.As(said, new(refusal))) {
		err = said
	}
	under.end(err, &s.o.Metrics.SnapshotsSent)
	if err != nil {
		under.log.Warn("a copy of all data was not taken", "sent_bytes", bytes, "err", err)
		return fmt.Errorf("sending a snapshot to %s: %w", addr, err)
	}
	under.log.Info("a copy of all data was taken", "bytes", bytes, "took", time.Since(under.began))
	return nil
}

// transfer is a copy on its way, as its metrics and the log show it. It belongs to the goroutine that moves the bytes.
type transfer struct {
	m     *Metrics
	moved *atomic.Uint64 // bytes on the wire
	log   *slog.Logger
	began time.Time
	told  time.Time
	bytes uint64
}

// tellEvery is how often the log says how far a copy is.
const tellEvery = 10 * time.Second

func (s *Snapshots) beginTransfer(moved *atomic.Uint64, log *slog.Logger) *transfer {
	s.o.Metrics.SnapshotsUnderWay.Add(1)
	now := time.Now()
	return &transfer{m: s.o.Metrics, moved: moved, log: log, began: now, told: now}
}

// add counts what has been moved.
func (t *transfer) add(bytes int) {
	t.moved.Add(uint64(bytes))
	t.bytes += uint64(bytes)
	if now := time.Now(); now.Sub(t.told) >= tellEvery {
		t.told = now
		t.log.Info("a copy of all data is on its way", "bytes", t.bytes, "bytes_per_second", int64(float64(t.bytes)/now.Sub(t.began).Seconds()))
	}
}

// end counts it as done, or as failed. Nobody moves anything any more.
func (t *transfer) end(err error, done *atomic.Uint64) {
	t.m.SnapshotsUnderWay.Add(-1)
	if err != nil {
		done = &t.m.SnapshotsFailed
	}
	done.Add(1)
}

// refusal is what the other side says.
type refusal struct{ why string }

func (r refusal) Error() string { return "it says: " + r.why }

// send writes the request, the data and their end.
func send(ctx context.Context, conn net.Conn, req *raft.InstallSnapshotRequest, data io.Reader, under *transfer) (sum int64, err error) {
	head, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	if err := write(conn, binary.BigEndian.AppendUint32(nil, uint32(len(head))), head); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	pieces, hash := readPieces(ctx, data), xxhash.New()
	defer func() { cancel(); <-pieces.done }() // data are their owner's again
	sign := time.NewTicker(signEvery)
	defer sign.Stop()
	for {
		select {
		case <-ctx.Done():
			return sum, ctx.Err()
		case <-sign.C:
			err = write(conn, binary.BigEndian.AppendUint32(nil, idle))
		case p := <-pieces.full:
			hash.Write(p.bytes)
			sum += int64(len(p.bytes))
			if len(p.bytes) > 0 {
				err = write(conn, binary.BigEndian.AppendUint32(nil, uint32(len(p.bytes))), p.bytes)
				under.add(len(p.bytes))
			}
			switch {
			case err != nil:
			case p.err == io.EOF:
				end := binary.BigEndian.AppendUint64(make([]byte, 4), uint64(sum))
				return sum, write(conn, binary.BigEndian.AppendUint64(end, hash.Sum64()))
			case p.err != nil:
				err = p.err
			default:
				pieces.empty <- p.bytes[:cap(p.bytes)]
			}
		}
		if err != nil {
			return sum, err
		}
	}
}

// write gives the connection silence to take what is not much.
func write(conn net.Conn, parts ...[]byte) error {
	conn.SetWriteDeadline(time.Now().Add(silence))
	for _, p := range parts {
		if _, err := conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// pieces are what a reader gives, read by a goroutine of its own: somebody has to give signs of life meanwhile.
type pieces struct {
	full  chan piece // the last one has an error, io.EOF at best
	empty chan []byte
	done  chan struct{} // closed when nobody reads any more
}

type piece struct {
	bytes []byte
	err   error
}

// readPieces begins to read. It ends with the context, and with the reader.
func readPieces(ctx context.Context, r io.Reader) *pieces {
	p := &pieces{make(chan piece), make(chan []byte, 2), make(chan struct{})}
	p.empty <- make([]byte, frameBytes)
	p.empty <- make([]byte, frameBytes)
	go func() {
		defer close(p.done)
		for {
			var one piece
			select {
			case b := <-p.empty:
				n, err := io.ReadFull(r, b)
				if errors.Is(err, io.ErrUnexpectedEOF) {
					err = io.EOF
				}
				one = piece{b[:n], err}
			case <-ctx.Done():
				return
			}
			select {
			case p.full <- one:
			case <-ctx.Done():
				return
			}
			if one.err != nil {
				return
			}
		}
	}()
	return p
}

// listen reads what the receiver says, until its answer.
func listen(conn net.Conn, resp *raft.InstallSnapshotResponse) error {
	for {
		conn.SetReadDeadline(time.Now().Add(silence))
		var b [5]byte
		if _, err := io.ReadFull(conn, b[:1]); err != nil {
			return err
		}
		switch b[0] {
		case '.':
			conn.SetWriteDeadline(time.Now().Add(silence)) // it takes its time, but it is there
			continue
		case 'R':
		default:
			return fmt.Errorf("%q is no answer", b[0])
		}
		if _, err := io.ReadFull(conn, b[1:]); err != nil {
			return err
		}
		var a answer
		if err := readJSON(conn, binary.BigEndian.Uint32(b[1:]), &a); err != nil {
			return err
		}
		if a.Response == nil || a.Err != "" {
			return refusal{a.Err}
		}
		*resp = *a.Response
		return nil
	}
}

func readJSON(r io.Reader, size uint32, v any) error {
	if size > maxRequestBytes {
		return fmt.Errorf("a message of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// Receive takes a stream with a snapshot that another node sends, and hands it to raft, with deliver. It returns when raft has answered.
func (s *Snapshots) Receive(conn net.Conn, deliver func(raft.RPC) bool) {
	defer conn.Close()
	stop := context.AfterFunc(s.closed, func() { conn.Close() })
	defer stop()
	in := &incoming{s: s, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), hash: xxhash.New()}
	if err := in.request(); err != nil {
		s.o.Logger.Warn("a snapshot that another node wanted to send was not understood", "from", conn.RemoteAddr(), "err", err)
		return
	}
	in.under = s.beginTransfer(&s.o.Metrics.SnapshotReceivedBytes, s.o.Logger.With("from", conn.RemoteAddr(), "index", in.req.LastLogIndex))
	var err error
	defer func() { in.under.end(err, &s.o.Metrics.SnapshotsReceived) }()
	defer s.arrives()()
	done := make(chan raft.RPCResponse, 1)
	go func() { // raft may have something else to do, and then this waits
		s.awaitIdle()
		if !deliver(raft.RPC{Command: &in.req, Reader: in, RespChan: done}) {
			done <- raft.RPCResponse{Error: raft.ErrTransportShutdown}
		}
	}()
	sign := time.NewTicker(signEvery)
	defer sign.Stop()
	for {
		select {
		case <-sign.C:
			in.write([]byte{'.'})
		case r := <-done:
			err = in.answer(r)
			return
		case <-s.closed.Done():
			err = s.closed.Err()
			return
		}
	}
}

// incoming is a snapshot on its way here. Raft reads from it.
type incoming struct {
	s    *Snapshots
	conn net.Conn
	r    *bufio.Reader
	req  raft.InstallSnapshotRequest

	// Of raft's goroutine.
	hash  *xxhash.Digest
	under *transfer
	left  uint32 // of the present frame
	sum   int64
	err   error // what ended it

	wrote error // of Receive's
}

func (i *incoming) request() error {
	i.conn.SetReadDeadline(time.Now().Add(silence))
	var b [4]byte
	if _, err := io.ReadFull(i.r, b[:]); err != nil {
		return err
	}
	return readJSON(i.r, binary.BigEndian.Uint32(b[:]), &i.req)
}

// Read gives raft the data. At their end it fills in their size, which raft compares with what it has read.
func (i *incoming) Read(p []byte) (n int, err error) {
	i.s.reading = i
	if i.err != nil {
		return 0, i.err
	}
	if n, err = i.read(p); err != nil {
		i.err = err
	}
	return n, err
}

func (i *incoming) read(p []byte) (int, error) {
	for i.left == 0 {
		i.conn.SetReadDeadline(time.Now().Add(silence))
		var b [4]byte
		if _, err := io.ReadFull(i.r, b[:]); err != nil {
			return 0, cutOff(err)
		}
		switch n := binary.BigEndian.Uint32(b[:]); {
		case n == 0:
			return 0, i.end()
		case n == idle:
		case n > frameBytes:
			return 0, fmt.Errorf("a snapshot's frame of %d bytes", n)
		default:
			i.left = n
		}
	}
	i.conn.SetReadDeadline(time.Now().Add(silence))
	n, err := i.r.Read(p[:min(len(p), int(i.left))])
	i.hash.Write(p[:n])
	i.under.add(n)
	i.sum += int64(n)
	i.left -= uint32(n)
	return n, cutOff(err)
}

// giveUp ends the reading. Raft would read to the end even what it cannot use.
func (i *incoming) giveUp(why error) {
	if i.err == nil {
		i.err = why
	}
}

// end compares what has come with what was sent. It returns io.EOF if all is well.
func (i *incoming) end() error {
	var b [16]byte
	if _, err := io.ReadFull(i.r, b[:]); err != nil {
		return cutOff(err)
	}
	if size, sum := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]); size != uint64(i.sum) || sum != i.hash.Sum64() {
		return fmt.Errorf("a snapshot of %d bytes came, of %d, or its checksum does not match", i.sum, size)
	}
	i.req.Size = i.sum
	return io.EOF
}

// cutOff: a stream that ends is no snapshot that does.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (i *incoming) write(parts ...[]byte) {
	if i.wrote == nil {
		if i.wrote = write(i.conn, parts...); i.wrote != nil {
			i.conn.Close() // and so raft's reading ends
		}
	}
}

// answer tells the sender what raft says. It returns why the snapshot was not taken over.
func (i *incoming) answer(r raft.RPCResponse) error {
	var a answer
	err := r.Error
	if err != nil {
		a.Err = err.Error()
	} else if resp, ok := r.Response.(*raft.InstallSnapshotResponse); ok {
		if a.Response = resp; !resp.Success {
			err = errors.New("raft did not take it")
		}
	}
	b, encodeErr := json.Marshal(a)
	if encodeErr != nil {
		return encodeErr
	}
	i.write([]byte{'R'}, binary.BigEndian.AppendUint32(nil, uint32(len(b))), b)
	return err
}
