//! Pages that need nothing else: pictures, tables and a verdict in one HTML file.
