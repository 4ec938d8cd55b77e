"""Mixed precision: assign a precision to each weight within a byte budget, by its measured sensitivity."""
