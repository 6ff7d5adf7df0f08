package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands before each node's cluster port and passes on what others send to it. It can hold back all that goes from one node to another, as a
// network does that loses every packet in one direction: requests on the connections of the one, replies on those of the other. What is held back
// arrives after Heal, or the connection has ended by then; a connection that is older than the block is as likely to be broken by Heal.
type Proxy struct {
	*Loopback // where the nodes listen
	fronts    []net.Listener
	pid       func(place int) int

	mu      sync.Mutex // guards the rest
	healed  *sync.Cond // broadcast when blocked changes, or the proxy ends
	blocked map[[2]int]bool
	pipes   map[*pipe]bool
	ended   bool
	running sync.WaitGroup
}

// pipe is a connection from one node to another.
type pipe struct {
	dialler, listener int // places; -1: nobody knows who dialled
	near, far         net.Conn
}

// NewProxy listens for as many nodes; it ends with the test.
func NewProxy(t testing.TB, nodes int) *Proxy {
	p := &Proxy{Loopback: NewLoopback(t, nodes), pid: func(int) int { return 0 }, blocked: map[[2]int]bool{}, pipes: map[*pipe]bool{}}
	p.healed = sync.NewCond(&p.mu)
	for place := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.fronts = append(p.fronts, l)
		p.running.Go(func() { p.accept(l, place) })
	}
	t.Cleanup(p.end)
	return p
}

func (p *Proxy) end() {
	for _, l := range p.fronts {
		l.Close()
	}
	p.mu.Lock()
	p.ended = true
	for one := range p.pipes {
		one.close()
	}
	p.healed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *pipe) close() {
	p.near.Close()
	p.far.Close()
}

// Peers are the proxy's own addresses.
func (p *Proxy) Peers() (addrs []string) {
	for _, l := range p.fronts {
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// Watch tells the proxy who the nodes are: it finds out who dialled by whose process has the other end of a connection.
func (p *Proxy) Watch(pid func(place int) int) { p.pid = pid }

// Block holds back what goes from one node to another.
func (p *Proxy) Block(from, to int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked[[2]int{from, to}] = true
}

// Heal lets everything through again. Every second connection that was held up breaks, as one does whose peer had given up.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	breaks := false
	for one := range p.pipes {
		if p.blocked[[2]int{one.dialler, one.listener}] || p.blocked[[2]int{one.listener, one.dialler}] {
			if breaks = !breaks; breaks {
				one.close()
			}
		}
	}
	clear(p.blocked)
	p.healed.Broadcast()
}

func (p *Proxy) accept(front net.Listener, place int) {
	for {
		near, err := front.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(near, place) })
	}
}

func (p *Proxy) serve(near net.Conn, place int) {
	defer near.Close()
	dialler := p.dialler(near)
	if !p.wait(dialler, place) {
		return
	}
	far, err := net.DialTimeout("tcp", p.addrs[place], 5*time.Second)
	if err != nil {
		return
	}
	one := &pipe{dialler, place, near, far}
	p.mu.Lock()
	p.pipes[one] = true
	if p.ended {
		one.close()
	}
	p.mu.Unlock()
	p.running.Go(func() { p.carry(one, near, far, dialler, place) })
	p.carry(one, far, near, place, dialler)
	p.mu.Lock()
	delete(p.pipes, one)
	p.mu.Unlock()
}

// carry copies one direction until either end is gone; then the whole connection is.
func (p *Proxy) carry(one *pipe, from, to net.Conn, sender, receiver int) {
	defer one.close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && p.wait(sender, receiver) {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns when something may go from one node to another; false: the proxy has ended.
func (p *Proxy) wait(from, to int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.blocked[[2]int{from, to}] && !p.ended {
		p.healed.Wait()
	}
	return !p.ended
}

// dialler finds the node whose process has the other end of a connection; -1: none, such as sett cluster status.
func (p *Proxy) dialler(near net.Conn) int {
	port := near.RemoteAddr().(*net.TCPAddr).Port
	inode := socketInode(port, near.LocalAddr().(*net.TCPAddr).Port)
	for place := range p.fronts {
		if pid := p.pid(place); pid != 0 && inode != "" && hasSocket(pid, inode) {
			return place
		}
	}
	return -1
}

// socketInode finds the socket of this machine that is bound to one port and connected to another.
func socketInode(local, remote int) string {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // sl local remote state … inode
			if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", local)) && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", remote)) {
				return f[9]
			}
		}
	}
	return ""
}

func hasSocket(pid int, inode string) bool {
	fds, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}
