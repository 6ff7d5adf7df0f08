package server

import (
	"fmt"

	"sett/commands"
)

// Errors that only the server answers; those of commands are in commands/errors.go.
const (
	errLoading    = commands.Error("LOADING Redis is loading the dataset in memory")
	errNoShutdown = commands.Error("ERR No shutdown in progress.")
	errNoDebug    = commands.Error(`ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a ` +
		"local connection, otherwise you need to set this option in the configuration file, and then restart the server.")

	errSaving      = commands.Error("ERR Background save already in progress")
	errRewriting   = commands.Error("ERR Background append only file rewriting already in progress")
	errRewriteRuns = commands.Error("ERR Another child process is active (AOF?): can't BGSAVE right now. " +
		"Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.")

	errMasterPort      = commands.Error("ERR Invalid master port")
	errFewReplicas     = commands.Error("NOREPLICAS Not enough good replicas to write.")
	errNoFailover      = commands.Error("ERR No failover in progress.")
	errFailoverAlone   = commands.Error("ERR FAILOVER requires connected replicas.")
	errFailoverTimeout = commands.Error("ERR FAILOVER timeout must be greater than 0")
	errUnblocked       = commands.Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
	errTimeoutNumber   = commands.Error("ERR timeout is not an integer or out of range")
	errTimeoutNegative = commands.Error("ERR timeout is negative")
	errNumLocal        = commands.Error("ERR value is out of range, value must between 0 and 1")
	errNotPositive     = commands.Error("ERR value is out of range, must be positive")
	errNoCluster       = commands.Error("ERR This instance has cluster support disabled")

	errFailoverRuns       = commands.Error("ERR FAILOVER already in progress.")
	errFailoverReplica    = commands.Error("ERR FAILOVER is not valid when server is a replica.")
	errFailoverForce      = commands.Error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
	errFailoverTarget     = commands.Error("ERR FAILOVER target HOST and PORT is not a replica.")
	errFailoverOffline    = commands.Error("ERR FAILOVER target replica is not online.")
	errFailoverOfMaster   = commands.Error("ERR You should send CLUSTER FAILOVER to a replica")
	errFailoverMasterDown = commands.Error("ERR Master is down or failed, please use CLUSTER FAILOVER FORCE")
	errWaitReplica        = commands.Error("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable " +
		"(which is not the default) writes to replicas are just local and are not propagated.")
	errWaitAOFReplica   = commands.Error("ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.")
	errNotMaster        = commands.Error("ERR The specified node is not a master")
	errReplicateMyself  = commands.Error("ERR Can't replicate myself")
	errReplicateReplica = commands.Error("ERR I can only replicate a master, not a replica.")
	errForgetMyself     = commands.Error("ERR I tried hard but I can't forget myself...")
	errSetEpoch         = commands.Error("ERR The user can assign a config epoch only when the node does not know any other node.")
	errSetSlot          = commands.Error("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP")
	errSlotRange        = commands.Error("ERR Invalid or out of range slot")
	errNoGoodReplica    = commands.Error("NOGOODSLAVE No suitable replica to promote")
	errNoSuchMaster     = commands.Error("ERR No such master with that name")

	// Ours: what Redis would do, and what there is instead.
	errAlone      = commands.Error("ERR This instance has cluster support disabled: it holds all slots and stands alone. Use it without cluster commands")
	errReplicaOf  = commands.Error("ERR sett cannot follow another server: use a client that reads there and writes here, such as redis-cli --pipe")
	errNoReplicas = commands.Error("ERR sett does not feed replicas: use SCAN to read its data, or copy the data directory of a server that was stopped")
	errSlotsFixed = commands.Error("ERR sett's leader holds all slots: they cannot be given away. Whoever leads has them")
	errMeet       = commands.Error("ERR sett's nodes find each other by cluster.peers in their configuration: start the new one with it")
	errForget     = commands.Error("ERR sett's members are the same for all nodes: take one out with SETT CLUSTER REMOVE <node>")

	errClusterReset     = commands.Error("ERR sett's nodes leave their cluster by SETT CLUSTER REMOVE <node>; an empty data directory begins anew")
	errReplicaOfCluster = commands.Error("ERR sett's nodes follow the leader of their cluster: SETT CLUSTER STATUS shows which, SETT CLUSTER TRANSFER changes it")
	errSentinelFixed    = commands.Error("ERR sett watches over its own cluster and nothing else: SETT CLUSTER HELP shows what can be changed")
	errFailoverNonVoter = commands.Error("ERR FAILOVER target is a read replica (cluster.role = \"replica\"), which never leads.")
	errNoLeader         = commands.Error("CLUSTERDOWN no leader is known at the moment: an election is going on, or too few nodes reach each other")

	errNoModules = commands.Error("ERR sett cannot load modules: use the commands that it has (COMMAND LIST)")

	errNoSuchModule = commands.Error("ERR Error unloading module: no such module with that name")
	errNoAuth       = commands.Error("NOAUTH Authentication required.")
	errWrongPass    = commands.Error("WRONGPASS invalid username-password pair or user is disabled.")
	errNoPassword   = commands.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	errHelloNoAuth  = commands.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option " +
		"can be used to authenticate the client and select the RESP protocol version at the same time")
	errNoProto         = commands.Error("NOPROTO unsupported protocol version")
	errProtoNotInteger = commands.Error("ERR Protocol version is not an integer or out of range")

	errClientName    = commands.Error("ERR Client names cannot contain spaces, newlines or special characters.")
	errClientID      = commands.Error("ERR Invalid client ID")
	errClientIDRange = commands.Error("ERR client-id should be greater than 0")
	errNoSuchClient  = commands.Error("ERR No such client")
	errUnblockReason = commands.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
	errPauseMode     = commands.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
	errSlowlogCount  = commands.Error("ERR count should be greater than or equal to -1")

	// Ours: Redis queues until memory ends.
	errQueueTooLong = commands.Error("ERR the commands queued since MULTI exceed client-query-buffer-limit")

	// The two ends of a reply whose speculation has ended. No client repeats a command by itself after the first, which may have
	// taken effect.
	errInDoubt  = commands.Error("INDOUBT the outcome of this write is unknown: it may or may not have taken effect")
	errTryAgain = commands.Error("TRYAGAIN this reply had seen writes whose outcome is unknown; nothing was changed")

	// In a cluster.
	errClusterDown       = commands.Error("CLUSTERDOWN The cluster is down: no leader was found within cluster.forward_timeout; nothing was changed")
	errTryAgainElsewhere = commands.Error("TRYAGAIN another node may lead by now, and know better")
	errCutOff            = commands.Error("TRYAGAIN the leader changed while this command was on its way; nothing was changed")
	errIndexAhead        = commands.Error("TRYAGAIN this node does not have that index yet")
)

// errMoved is where a client that follows a cluster's slots has to go.
func errMoved(slot uint16, addr string) commands.Error {
	return commands.Error(fmt.Sprintf("MOVED %d %s", slot, addr))
}

// errArgTooLong is ours: Redis gathers an argument of any length in memory.
func errArgTooLong(arg, bytes, limit int) commands.Error {
	return commands.Error(fmt.Sprintf("ERR argument %d of %d bytes: only the values of strings may be longer than %d bytes (memory_budget / 8)", arg, bytes, limit))
}

// errDebug is DEBUG's answer to what it does not know.
func errDebug(subcommand []byte) commands.Error { return errSubcommand("DEBUG", subcommand) }

// errPackedThreshold is DEBUG QUICKLIST-PACKED-THRESHOLD's answer to what is no size below 4 GiB.
const errPackedThreshold = commands.Error("ERR argument must be a memory value bigger than 1 and smaller than 4gb")

// errSubcommand is what a container answers whose subcommand got a number of arguments that its arity allows and it does not.
func errSubcommand(container string, subcommand []byte) commands.Error {
	return commands.Error("ERR unknown subcommand or wrong number of arguments for '" + commands.CString(subcommand, 128) + "'. Try " + container + " HELP.")
}

func errHelloOption(option []byte) commands.Error {
	return commands.Error("ERR Syntax error in HELLO option '" + commands.CString(option, len(option)) + "'")
}

func errClientType(name []byte) commands.Error {
	return commands.Error("ERR Unknown client type '" + commands.CString(name, len(name)) + "'")
}

func errNoSuchUser(name []byte) commands.Error {
	return commands.Error("ERR No such user '" + commands.CString(name, len(name)) + "'")
}

func errSetInfoOption(option []byte) commands.Error {
	return commands.Error("ERR Unrecognized option '" + commands.CString(option, len(option)) + "'")
}

func errSetInfoText(option []byte) commands.Error {
	return commands.Error("ERR " + commands.CString(option, len(option)) + " cannot contain spaces, newlines or special characters.")
}

func errNoSamples(event []byte) commands.Error {
	return commands.Error("ERR No samples available for event '" + commands.CString(event, len(event)) + "'")
}

func errUnknownNode(id []byte) commands.Error {
	return commands.Error("ERR Unknown node " + commands.CString(id, len(id)))
}

func errSlotBusy(slot int64) commands.Error {
	return commands.Error(fmt.Sprintf("ERR Slot %d is already busy", slot))
}

func errMeetPort(port []byte) commands.Error {
	return commands.Error("ERR Invalid TCP base port specified: " + commands.CString(port, len(port)))
}

func errMeetAddress(host, port []byte) commands.Error {
	return commands.Error("ERR Invalid node address specified: " + commands.CString(host, len(host)) + ":" + commands.CString(port, len(port)))
}

// errNoQuorum is SENTINEL CKQUORUM's.
func errNoQuorum(usable int) commands.Error {
	return commands.Error(fmt.Sprintf("NOQUORUM %d usable Sentinels. Not enough available Sentinels to reach the specified quorum "+
		"for this master. Not enough available Sentinels to reach the majority and authorize a failover", usable))
}

func errAmbiguousNode(which []byte) commands.Error {
	return commands.Error("ERR more than one node has an id that begins with " + commands.CString(which, len(which)))
}
