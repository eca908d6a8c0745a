//! Debian's etcdctl against our cluster and against Go's.
