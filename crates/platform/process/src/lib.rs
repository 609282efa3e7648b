//! Guest instructions in stub processes.
