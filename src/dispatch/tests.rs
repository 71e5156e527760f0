//! The slice over a real database and a real socket.
