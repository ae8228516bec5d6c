"""Network graphs without torch: shapes, seed networks, morphisms, operation counts, memory estimates."""
