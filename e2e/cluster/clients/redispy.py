"""redis-py through a fail-over: kills the leader of a cluster on this machine while a client writes and reads, as an application does.

    make cluster                                        # in another terminal
    python3 e2e/cluster/clients/redispy.py plain|sentinel|cluster 7001 7002 7003

Nothing is done by hand about connections: only what the library does by itself, and the application's own retry of a command that failed. It prints how
long commands failed and with what, and ends with 1 if a write that was acknowledged is lost, or if commands still fail after 10 seconds. The node that
was killed is not started again: `make cluster` has to be. Needs redis-py; without it, it says so and ends with 0.
"""
import collections
import os
import signal
import sys
import time

try:
    import redis
    from redis.cluster import ClusterNode, RedisCluster
    from redis.exceptions import RedisClusterException
    from redis.sentinel import Sentinel
except ImportError as e:
    print("skipped:", e)
    sys.exit(0)

PATIENCE = 10  # seconds


def connect(mode, ports):
    if mode == "sentinel":
        return Sentinel([("127.0.0.1", p) for p in ports], socket_timeout=1).master_for("mymaster", socket_timeout=2)
    if mode == "cluster":
        return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", p) for p in ports], socket_timeout=2)
    follower = next(p for p in ports if redis.Redis(port=p).info("replication")["role"] != "master")
    return redis.Redis(port=follower, socket_timeout=5)


def leader(ports):
    for p in ports:
        r = redis.Redis(port=p, socket_timeout=2)
        if r.info("replication")["role"] == "master":
            return r.info("server")["process_id"]
    sys.exit("nobody leads")


def main(mode, *ports):
    ports = [int(p) for p in ports]
    client, pid = connect(mode, ports), leader(ports)
    errors = collections.Counter()
    acknowledged, failed, killed = {}, [], None
    begun = time.monotonic()
    n = 0
    while (now := time.monotonic()) < begun + 3 or killed and now < killed + 5:
        if killed is None and now > begun + 1:
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
        n += 1
        key, value = "redispy:%d" % (n % 100), str(n).encode()
        try:
            client.set(key, value)
            acknowledged[key] = {value}
            got = client.get(key)
            if got != value:
                sys.exit("%s is %r, was set to %r" % (key, got, value))
        except (redis.RedisError, RedisClusterException) as e:
            failed.append(time.monotonic() - killed if killed else -1)
            errors["%s: %.60s" % (type(e).__name__, e)] += 1
            acknowledged.setdefault(key, set()).add(value)  # it may have been set or not
            if failed[-1] > PATIENCE or failed[-1] < 0:
                sys.exit("it fails %.1f s after the kill: %r" % (failed[-1], e))
            time.sleep(0.02)
    for key, values in acknowledged.items():
        if client.get(key) not in values:
            sys.exit("%s is %r, may be %r" % (key, client.get(key), values))
    print("redis-py %s, %s: %d commands, %d failed, the last one %.2f s after the kill" % (redis.__version__, mode, 2 * n, len(failed), max(failed, default=0)))
    for text, count in errors.most_common():
        print("  %4d %s" % (count, text))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
