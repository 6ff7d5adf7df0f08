// This file is empty. A package with an assembly file may declare functions without a body: badgerrange.go does, and the linker finds them.
