// Package expiry hunts for keys and fields that are seen after their time, or are gone before it. Clients give short times to live to strings, sorted
// sets and fields of hashes, change and take them back, and know from each acknowledgement between which two milliseconds the end must lie. The
// server is killed again and again meanwhile, with all that gives space back at its most eager. SETT_FULL=1 runs 30 rounds, SETT_SEED repeats one.
package expiry
