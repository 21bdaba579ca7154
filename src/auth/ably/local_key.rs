//! What the server keeps for itself in the data folder.
