"""What all routes share: who calls, bodies, pages, streams, and the way an answer goes out."""
