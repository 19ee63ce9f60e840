"""One class per kind of fault: inject, heal, and the evidence that it fired."""
