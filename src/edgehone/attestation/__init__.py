"""What a bundle states about itself and who signed it: certificate, verdicts, bill of materials, signature."""
