//! The simulated organisation over sockets.
