# tests and fuzz targets of this room
